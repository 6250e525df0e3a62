// Package registry gets the images that templates are built from: out of a library
// of imported ones, by name, or from container registries. Each becomes one root
// image in the image store.
package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"shoal/internal/atomicfile"
	"shoal/internal/image"
)

// Image is a container image as a root image.
type Image struct {
	Name   string            `json:"name"`   // as it was given, in full
	Digest string            `json:"digest"` // of the root image
	Size   int64             `json:"size"`   // of the root image, bytes
	Env    map[string]string `json:"env,omitempty"`
	From   string            `json:"from"` // where it was imported from
	At     time.Time         `json:"at"`
}

// Error is a failure that the one who named the image can mend. The texts are E2B's
// where it has one (templates.md §3.2).
type Error struct{ Message string }

var _ error = (*Error)(nil)

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Config is where a library keeps what it has.
type Config struct {
	Images *image.Store
	// Dir is the library's own.
	Dir string
	// Mirrors are registries to ask in another's place, by its name: "docker.io".
	Mirrors map[string]string
	// StandIns are imported images that are used when the registry of another cannot
	// be reached, by the repository's last name: "ubuntu".
	StandIns map[string]Image
	// CAFiles are PEM files of authorities that registries' certificates may be
	// signed by, besides the system's.
	CAFiles []string
	// ECR is asked for logins of type "aws", in place of AWS's own address.
	ECR string
}

// Library has imported images by name. Safe for concurrent use, also by several
// processes.
type Library struct {
	images       *image.Store
	dir          string
	blobs        *blobs
	mirrors      map[string]string
	standIns     map[string]Image
	ecr          string
	transport    *http.Transport
	away         *absence
	workspaceDir string
}

// Open prepares the library's directory, and removes what was left unfinished there.
func Open(cfg Config) (*Library, error) {
	l := &Library{images: cfg.Images, dir: filepath.Join(cfg.Dir, "names"), workspaceDir: filepath.Join(cfg.Dir, "work"),
		mirrors: cfg.Mirrors, standIns: cfg.StandIns, ecr: cfg.ECR, away: newAbsence()}
	var err error
	if l.transport, err = newTransport(cfg.CAFiles); err != nil {
		return nil, fmt.Errorf("prepare pulls of images: %w", err)
	}
	if l.blobs, err = openBlobs(filepath.Join(cfg.Dir, "blobs")); err != nil {
		return nil, fmt.Errorf("make the image library's directory: %w", err)
	}
	for _, dir := range []string{l.dir, l.workspaceDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the image library's directory: %w", err)
		}
	}
	return l, l.removeUnfinished()
}

// Sweep removes pulled layers that were not used since a time. Images that were made
// of them stay.
func (l *Library) Sweep(since time.Time) error { return l.blobs.sweep(since) }

// parse gives a name its full form: registry, repository, tag or digest.
func parse(reference string) (name.Reference, error) {
	ref, err := name.ParseReference(strings.TrimSpace(reference))
	if err != nil {
		return nil, &Error{fmt.Sprintf("invalid image reference '%s': %v", reference, err)}
	}
	return ref, nil
}

func (l *Library) path(ref name.Reference) string {
	sum := sha256.Sum256([]byte(ref.Name()))
	return filepath.Join(l.dir, hex.EncodeToString(sum[:])+".json")
}

// find returns an imported image. A missing one is fs.ErrNotExist.
func (l *Library) find(ref name.Reference) (Image, error) {
	i, err := readEntry(l.path(ref))
	if err != nil {
		return Image{}, err
	}
	if _, err := l.images.Path(i.Digest); err != nil {
		return Image{}, fmt.Errorf("the root image of %s: %w", i.Name, err)
	}
	return i, nil
}

func readEntry(path string) (Image, error) {
	var i Image
	data, err := os.ReadFile(path)
	if err != nil {
		return i, err
	}
	return i, json.Unmarshal(data, &i)
}

// Version tells imported images of the same name apart. It is "" for one that comes
// from a registry.
func (l *Library) Version(reference string) string {
	ref, err := parse(reference)
	if err != nil {
		return ""
	}
	i, err := l.find(ref)
	if err != nil {
		return ""
	}
	return i.Digest
}

// List returns what was imported, by name.
func (l *Library) List() ([]Image, error) {
	files, err := filepath.Glob(filepath.Join(l.dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var list []Image
	for _, f := range files {
		i, err := readEntry(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		list = append(list, i)
	}
	sort.Slice(list, func(a, b int) bool { return list[a].Name < list[b].Name })
	return list, nil
}

// Remove forgets an imported image. Templates that were built from it keep what they
// need. An unknown name is an *Error.
func (l *Library) Remove(reference string) error {
	ref, err := parse(reference)
	if err != nil {
		return err
	}
	err = os.Remove(l.path(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{fmt.Sprintf("there is no image '%s'; `shoal image list` shows which there are", reference)}
	}
	return err
}

// put enters an image under a name.
func (l *Library) put(ref name.Reference, i Image) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(l.path(ref), data, 0o600, atomicfile.Durable)
}
