// Package atomicfile changes files and directories as a whole: whoever looks sees the
// old content or the new one, never a part of it. What a power cut may do is stated with
// every change.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Durability is what a power cut may do to a change that has been made. The end of a
// process never matters.
type Durability int

const (
	// Volatile changes may be lost in a power cut, and may leave a file that is empty
	// or cut short. It is for what lies in memory anyway, and for what can be made again
	// by readers who notice the damage.
	Volatile Durability = iota
	// Durable changes are on the disk, content and name, before they count as made.
	Durable
)

// Suffix ends the names of files in the making. A process that was killed may leave some
// behind; the owner of the directory removes them.
const Suffix = ".tmp"

// File is a file in the making. It has no name that others know before Commit.
type File struct {
	*os.File
	committed bool
}

// Create begins a file that will lie in dir. Its mode is 0600 until Commit.
func Create(dir string) (*File, error) {
	f, err := os.CreateTemp(dir, ".*"+Suffix)
	if err != nil {
		return nil, err
	}
	return &File{File: f}, nil
}

// Commit gives the file its mode, whatever the umask, and its name in the directory that
// it was created in. A file that has the name is replaced. The file is closed afterwards;
// a Durable one stays open until it has its name, and so does a lock on it.
func (f *File) Commit(path string, mode fs.FileMode, d Durability) error {
	if mode != 0o600 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if d == Volatile {
		if err := f.Close(); err != nil {
			return err
		}
	} else if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	f.committed = true
	if d == Volatile {
		return nil
	}
	return errors.Join(SyncDir(filepath.Dir(path)), f.Close())
}

// Discard closes and removes the file. After a Commit it does nothing.
func (f *File) Discard() error {
	if f.committed {
		return nil
	}
	err := f.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// WriteFile makes data the content of the file at path.
func WriteFile(path string, data []byte, mode fs.FileMode, d Durability) (err error) {
	f, err := Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit(path, mode, d)
}

// WriteNew is WriteFile for a file that must not be there yet, with mode 0600: one that is
// there stays, and the error is fs.ErrExist. Of several who write at once one succeeds.
func WriteNew(path string, data []byte, d Durability) (err error) {
	f, err := Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if d == Durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := os.Link(f.Name(), path); err != nil || d == Volatile {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Rename gives a finished file or directory its name. The caller has written its content,
// to the disk if the change is to be Durable; the name follows here. Both paths lie on one
// file system. A directory only takes the place of an empty one: see rename(2).
func Rename(from, to string, d Durability) error {
	if err := os.Rename(from, to); err != nil || d == Volatile {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir brings the names in a directory to the disk.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write the names in %s to the disk: %w", dir, err)
	}
	return nil
}
