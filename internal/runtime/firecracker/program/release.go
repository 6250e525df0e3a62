package program

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"shoal/internal/shoal"
)

// maxProgram bounds one program of a release, maxRelease its archive, in bytes.
const (
	maxProgram = 256 << 20
	maxRelease = 1 << 30
)

// arch is how Firecracker's releases call this machine.
func arch() string {
	if goruntime.GOARCH == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

// Release is a release of Firecracker as its project publishes it.
type Release struct {
	// Base is the address below which releases are: BASE/VERSION/firecracker-VERSION-ARCH.tgz,
	// with the checksum beside it.
	Base    string
	Version string // with the v
	// SHA256 is the archive's checksum, in hex, if it is known from elsewhere; that beside the
	// archive is then not asked for.
	SHA256 string
	Client *http.Client
}

// ReleaseBase is where the project publishes its releases.
const ReleaseBase = "https://github.com/firecracker-microvm/firecracker/releases/download"

// Download fetches a release, checks it, and imports what is in it.
func (s *Store) Download(ctx context.Context, r Release) (Program, error) {
	if !strings.HasPrefix(r.Version, "v") || len(versionParts(r.Version)) != 3 {
		return Program{}, shoal.ErrFirecrackerVersion.New("%q is no version of a release, such as v1.16.1", r.Version)
	}
	dir, err := os.MkdirTemp("", "shoal-firecracker-")
	if err != nil {
		return Program{}, err
	}
	defer os.RemoveAll(dir)
	url := fmt.Sprintf("%s/%s/firecracker-%s-%s.tgz", strings.TrimRight(r.Base, "/"), r.Version, r.Version, arch())
	want := strings.ToLower(r.SHA256)
	if want == "" {
		if want, err = r.checksum(ctx, url+".sha256.txt"); err != nil {
			return Program{}, err
		}
	}
	archive := filepath.Join(dir, "release.tgz")
	got, err := r.fetch(ctx, url, archive)
	if err != nil {
		return Program{}, err
	}
	if got != want {
		return Program{}, shoal.ErrFirecrackerChecksum.New("%s has the SHA-256 %s; %s was expected", url, got, want)
	}
	return s.ImportRelease(ctx, archive, "")
}

func (r Release) get(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, shoal.ErrFirecrackerDownload.Wrap(err, "%s is no address", url)
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, shoal.ErrFirecrackerDownload.Wrap(err, "%s cannot be fetched", url)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, shoal.ErrFirecrackerDownload.New("%s answers %s", url, resp.Status)
	}
	return resp, nil
}

func (r Release) checksum(ctx context.Context, url string) (string, error) {
	resp, err := r.get(ctx, url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(io.LimitReader(resp.Body, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", shoal.ErrFirecrackerDownload.Wrap(err, "%s cannot be read", url)
	}
	sum, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return "", shoal.ErrFirecrackerChecksum.New("%s has no SHA-256", url)
	}
	return strings.ToLower(sum), nil
}

func (r Release) fetch(ctx context.Context, url, to string) (digest string, err error) {
	resp, err := r.get(ctx, url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(resp.Body, maxRelease))
	if err != nil {
		return "", shoal.ErrFirecrackerDownload.Wrap(err, "%s came only in part", url)
	}
	if n == maxRelease {
		return "", shoal.ErrFirecrackerDownload.New("%s is larger than a release is", url)
	}
	return hex.EncodeToString(sum.Sum(nil)), f.Close()
}

// ImportRelease imports the two programs of a release's archive (.tgz).
func (s *Store) ImportRelease(ctx context.Context, archive, name string) (Program, error) {
	dir, err := os.MkdirTemp("", "shoal-firecracker-")
	if err != nil {
		return Program{}, err
	}
	defer os.RemoveAll(dir)
	if err := unpackRelease(archive, dir); err != nil {
		return Program{}, err
	}
	return s.Import(ctx, filepath.Join(dir, firecrackerFile), filepath.Join(dir, jailerFile), name)
}

// unpackRelease writes the two programs to dir. Beside them a release has their symbols, which
// begin alike and end in .debug.
func unpackRelease(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return shoal.ErrFirecrackerProgram.Wrap(err, "%s cannot be read", archive)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		return shoal.ErrFirecrackerProgram.Wrap(err, "%s is no archive of a release (.tgz)", archive)
	}
	found := map[string]bool{}
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return shoal.ErrFirecrackerProgram.Wrap(err, "%s is cut off or damaged", archive)
		}
		for _, name := range []string{firecrackerFile, jailerFile} {
			base := path.Base(h.Name)
			if h.Typeflag != tar.TypeReg || found[name] || !strings.HasPrefix(base, name+"-v") ||
				!strings.HasSuffix(base, "-"+arch()) {
				continue
			}
			if h.Size > maxProgram {
				return shoal.ErrFirecrackerProgram.New("%s in %s is larger than a program is", base, archive)
			}
			if err := writeProgram(filepath.Join(dir, name), r); err != nil {
				return shoal.ErrFirecrackerProgram.Wrap(err, "%s is cut off or damaged", archive)
			}
			found[name] = true
		}
	}
	if !found[firecrackerFile] || !found[jailerFile] {
		return shoal.ErrFirecrackerProgram.New("%s has no firecracker and jailer for %s in it", archive, arch())
	}
	return nil
}

func writeProgram(to string, from io.Reader) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
