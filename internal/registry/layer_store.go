package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/internal/shares"
)

// partSuffix ends the name of a blob that is not complete yet.
const partSuffix = ".part"

// layerStore keeps the layers of images in files named by digest. A file without a suffix
// is a complete blob. If a pull breaks off, its partial file is kept and the next pull
// continues it. A file's modification time is when it was last used. Only the process that
// holds the machine's lock pulls into the directory.
type layerStore struct {
	dir   string
	pulls shares.Turns // by digest: of who uses its files
}

func openLayers(dir string) (*layerStore, error) {
	return &layerStore{dir: dir}, os.MkdirAll(dir, 0o700)
}

// get returns the path of a blob's file after verifying its digest. It pulls the blob if
// it is missing. If several callers want the same blob at once, only one pulls it.
func (s *layerStore) get(ctx context.Context, client *http.Client, want blob,
	say func(string)) (string, error) {
	hexDigest, ok := strings.CutPrefix(want.digest, "sha256:")
	if !ok || len(hexDigest) != sha256.Size*2 || strings.Trim(hexDigest, "0123456789abcdef") != "" {
		return "", &Error{Message: fmt.Sprintf("the image names a layer by '%s', which is not a SHA-256 digest", want.digest)}
	}
	release, err := s.pulls.Take(ctx, want.digest)
	if err != nil {
		return "", err
	}
	defer release()
	path := filepath.Join(s.dir, hexDigest)
	if err := verify(path, want); err == nil {
		now := time.Now()
		return path, os.Chtimes(path, now, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		say(fmt.Sprintf("The kept copy of %s is damaged; it is pulled again", want.name))
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	if err := s.pull(ctx, client, want, path, say); err != nil {
		return "", err
	}
	return path, nil
}

// verify checks that a file has the blob's digest.
func verify(path string, want blob) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != want.digest {
		return &Error{Message: fmt.Sprintf("%s does not have the digest %s, which the image names it by; "+
			"build again, or take the image from elsewhere", want.name, want.digest)}
	}
	return nil
}

// sweep removes complete and partial blobs that were not used since the given time.
func (s *layerStore) sweep(since time.Time) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, infoErr := e.Info()
		if infoErr != nil || !info.ModTime().Before(since) {
			continue
		}
		digest := "sha256:" + strings.TrimSuffix(e.Name(), partSuffix)
		if done, ok := s.pulls.TryTake(digest); ok {
			err = errors.Join(err, os.Remove(filepath.Join(s.dir, e.Name())))
			done()
		}
	}
	return err
}
