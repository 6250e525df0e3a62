package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	imagesDir = "images"
	rootsDir  = "roots"
	tempMark  = ".tmp-" // starts the names of what is being made
	suffix    = ".erofs"
)

// Store keeps root images by content below one directory. What is there is
// complete. Several processes may share it: making is done under a file lock.
type Store struct{ dir string }

// Open prepares the directory.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{imagesDir, rootsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the image directory: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// lock waits until this process alone makes images here.
func (s *Store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, imagesDir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the image directory: %w", err)
	}
	return func() { f.Close() }, nil
}

// path is where the image of a digest is, or would be.
func (s *Store) path(digest string) (string, error) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a SHA-256 digest", digest)
	}
	return filepath.Join(s.dir, imagesDir, "sha256-"+hex+suffix), nil
}

// Path returns the file of an image. A missing one is os.ErrNotExist.
func (s *Store) Path(digest string) (string, error) {
	path, err := s.path(digest)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}

// Put writes an image and returns its digest, "sha256:" and 64 hex digits, and
// its size in bytes.
func (s *Store) Put(t *Tree) (digest string, size int64, err error) {
	f, err := os.CreateTemp(filepath.Join(s.dir, imagesDir), tempMark)
	if err != nil {
		return "", 0, fmt.Errorf("make an image: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	hex, size, err := writeErofs(f, t)
	if err != nil {
		return "", 0, fmt.Errorf("write an image: %w", err)
	}
	digest = "sha256:" + hex
	path, err := s.path(digest)
	if err != nil {
		return "", 0, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return "", 0, fmt.Errorf("write an image: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return "", 0, fmt.Errorf("write an image: %w", err)
	}
	return digest, size, syncDir(filepath.Dir(path))
}

// List returns the digests of all images.
func (s *Store) List() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, imagesDir, "sha256-*"+suffix))
	if err != nil {
		return nil, err
	}
	var digests []string
	for _, f := range files {
		hex := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "sha256-"), suffix)
		digests = append(digests, "sha256:"+hex)
	}
	return digests, nil
}

// Remove deletes an image. Guests that run from it keep it until they end.
func (s *Store) Remove(digest string) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removeUnfinished deletes what an interrupted process left. The lock is held.
func (s *Store) removeUnfinished() error {
	var errs error
	for _, sub := range []string{imagesDir, rootsDir} {
		left, err := filepath.Glob(filepath.Join(s.dir, sub, tempMark+"*"))
		errs = errors.Join(errs, err)
		for _, path := range left {
			errs = errors.Join(errs, unmountBelow(path), os.RemoveAll(path))
		}
	}
	if errs != nil {
		return fmt.Errorf("remove an unfinished image: %w", errs)
	}
	return nil
}

// unmountBelow detaches what a bootstrap may have mounted, deepest first.
func unmountBelow(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	for n := len(lines) - 1; n >= 0; n-- {
		fields := strings.Fields(lines[n])
		if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", fields[4], err)
			}
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
