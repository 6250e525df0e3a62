package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

const (
	imagesDir = "images"
	rootsDir  = "roots"
	tempMark  = ".tmp-" // the prefix of unfinished directories
	suffix    = ".erofs"
)

// Store keeps root images in one directory, named by their content. Every image in it is
// complete. Several processes may share it: the base template is made under a file lock,
// and each unfinished image is locked by the process that writes it.
type Store struct {
	dir   string
	below *Store // a second, read-only store; may be nil
}

// Over returns a store that also finds the images of another store, below, which it only
// reads.
func (s *Store) Over(below *Store) *Store { return &Store{dir: s.dir, below: below} }

// Open prepares the directory, and removes what an interrupted process left there.
func Open(dir string) (*Store, error) {
	for _, sub := range []string{imagesDir, rootsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the image directory: %w", err)
		}
	}
	s := &Store{dir: dir}
	unlock, err := s.tryLock()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return s, nil // another process is making the base template, and has cleaned up
	}
	if err != nil {
		return nil, fmt.Errorf("lock the image directory: %w", err)
	}
	defer unlock()
	return s, s.removeUnfinished()
}

// lockEvery is how often a held lock is retried.
const lockEvery = 50 * time.Millisecond

// lock waits until no other process is making the base template in this directory.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	again := time.NewTicker(lockEvery)
	defer again.Stop()
	for {
		unlock, err := s.tryLock()
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the image directory: %w", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another process that makes the base template: %w", ctx.Err())
		}
	}
}

func (s *Store) tryLock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, imagesDir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// path returns where the image with a digest is, or would be.
func (s *Store) path(digest string) (string, error) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a SHA-256 digest", digest)
	}
	return filepath.Join(s.dir, imagesDir, "sha256-"+hex+suffix), nil
}

// Path returns the file of an image. If it is missing, the error is os.ErrNotExist.
func (s *Store) Path(digest string) (string, error) {
	path, err := s.path(digest)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	if errors.Is(err, os.ErrNotExist) && s.below != nil {
		return s.below.Path(digest)
	}
	if err != nil {
		return "", err
	}
	return path, nil
}

// Put writes an image and returns its digest, "sha256:" and 64 hex digits, and its size in
// bytes. If an equal image exists, that one is kept.
func (s *Store) Put(t *Tree) (digest string, size int64, err error) {
	f, err := s.unfinished()
	if err != nil {
		return "", 0, fmt.Errorf("make an image: %w", err)
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	hex, size, err := writeErofs(f.File, t)
	if err != nil {
		return "", 0, fmt.Errorf("write an image: %w", err)
	}
	digest = "sha256:" + hex
	path, err := s.path(digest)
	if err != nil {
		return "", 0, err
	}
	if _, err := os.Stat(path); err == nil {
		now := time.Now()
		// Until its user is known, only its age protects the image from being collected.
		return digest, size, ignoreMissing(os.Chtimes(path, now, now))
	}
	if err := f.Commit(path, 0o644, atomicfile.Durable); err != nil {
		return "", 0, fmt.Errorf("write an image: %w", err)
	}
	return digest, size, nil
}

// unfinished creates a file for an image. It is locked until it is closed or this process
// exits, so that others know that it is in use.
func (s *Store) unfinished() (*atomicfile.File, error) {
	for {
		f, err := atomicfile.Create(filepath.Join(s.dir, imagesDir))
		if err != nil {
			return nil, err
		}
		if err := atomicfile.Flock(f.File, unix.LOCK_EX); err != nil {
			return nil, errors.Join(err, f.Discard())
		}
		// Another process may have removed the file just before it was locked.
		if _, err := os.Stat(f.Name()); err == nil {
			return f, nil
		}
		f.Close()
	}
}

// List returns the digests of the images in this store, without those of below.
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

// Remove deletes an image. Guests that run from it keep it open until they end.
func (s *Store) Remove(digest string) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	return ignoreMissing(os.Remove(path))
}

// removeUnfinished deletes what an interrupted process left. The caller holds the lock.
func (s *Store) removeUnfinished() error {
	var errs error
	for _, pattern := range []string{
		// The second pattern is for files of earlier versions.
		filepath.Join(imagesDir, ".*"+atomicfile.Suffix), filepath.Join(imagesDir, tempMark+"*"),
		filepath.Join(rootsDir, tempMark+"*"),
	} {
		left, err := filepath.Glob(filepath.Join(s.dir, pattern))
		errs = errors.Join(errs, err)
		for _, path := range left {
			errs = errors.Join(errs, removeLeft(path))
		}
	}
	if errs != nil {
		return fmt.Errorf("remove an unfinished image: %w", errs)
	}
	return nil
}

// removeLeft deletes a file or directory, unless it is being written.
func removeLeft(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close() // only after the file is removed, see unfinished
	if err := atomicfile.Flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	if err := unmountBelow(path); err != nil {
		return err // never delete what is mounted there
	}
	return os.RemoveAll(path)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// unmountBelow detaches what a bootstrap may have mounted, the last mount first.
func unmountBelow(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}
