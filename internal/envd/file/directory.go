// Package file does what the daemon's two file interfaces share: directories and files on
// behalf of a user, entry information and metadata attributes. Everything is done as root;
// the user only becomes the owner of what is new.
package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"shoal/internal/envd/account"
)

// ErrNotDirectory says that a file is where a path needs a directory.
var ErrNotDirectory = errors.New("not a directory")

// MakeAll creates the directory and its missing ancestors with mode 0755, and
// gives those it created itself to the user. It reports whether it created
// any. Concurrent calls for one path all succeed.
func MakeAll(path string, u account.User) (bool, error) {
	info, err := os.Stat(path)
	if err == nil {
		if info.IsDir() {
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", path, ErrNotDirectory)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	made := false
	if parent := filepath.Dir(filepath.Clean(path)); parent != filepath.Clean(path) {
		if made, err = MakeAll(parent, u); err != nil {
			return made, err
		}
	}
	switch err := os.Mkdir(path, 0o755); {
	case errors.Is(err, os.ErrExist):
		return made, onlyDirectory(path) // another call was faster
	case err != nil:
		return made, err
	}
	return true, os.Chown(path, int(u.UID), int(u.GID))
}

// onlyDirectory refuses what took a directory's place, such as a dangling link.
func onlyDirectory(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w", path, ErrNotDirectory)
	}
	return nil
}

// BadName reports whether an error says that a path can never be used as it is: it is too
// long, or its links lead in a circle.
func BadName(err error) bool {
	return errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, syscall.ELOOP)
}

// NoSpace reports that the file system is out of blocks, inodes or quota.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
