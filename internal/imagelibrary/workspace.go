package imagelibrary

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// workspace is a directory for unfinished work. It stays locked until it is removed or
// this process exits, so that other processes know that it is in use.
type workspace struct {
	dir  string
	lock *os.File
}

func (l *Library) workspace() (*workspace, error) {
	for {
		dir, err := os.MkdirTemp(l.workspaceDir, "")
		if err != nil {
			return nil, err
		}
		lock, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process removed it before we could lock it
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			if _, err := os.Stat(dir); err == nil {
				return &workspace{dir, lock}, nil
			}
		}
		lock.Close()
	}
}

func (w *workspace) remove() {
	_ = os.RemoveAll(w.dir) // if this fails, the next start does it
	w.lock.Close()
}

// removeUnfinished deletes the workspaces of processes that have exited.
func (l *Library) removeUnfinished() error {
	entries, err := os.ReadDir(l.workspaceDir)
	for _, e := range entries {
		err = errors.Join(err, removeUnused(filepath.Join(l.workspaceDir, e.Name())))
	}
	return err
}

func removeUnused(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // keeps the lock until the directory is gone, see workspace
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // in use
	}
	return os.RemoveAll(path)
}
