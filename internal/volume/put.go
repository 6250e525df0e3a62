package volume

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// blockSize is the least that an entry counts for, in bytes.
const blockSize = 4096

// copySize is how much of an upload is written at once.
const copySize = 1 << 20

// Put writes a file. It appears as a whole when all of it was read: who reads at its path meanwhile
// has what was there. Forced, it makes directories above it and replaces a file.
func (t *Tree) Put(p string, from io.Reader, w Wish, force bool) (Entry, error) {
	name, err := clean(p)
	if err != nil {
		return Entry{}, err
	}
	if name == "." {
		return Entry{}, told(unix.EISDIR, p)
	}
	if force {
		if err := t.makeParents(name, w); err != nil {
			return Entry{}, told(err, p)
		}
	}
	if err := t.replaceable(name, force); err != nil {
		return Entry{}, told(err, p)
	}
	if err := t.put(name, from, w.or(defaultFile), force); err != nil {
		return Entry{}, told(err, p)
	}
	return t.stat(name)
}

// replaceable refuses early what cannot be put, before its bytes are read.
func (t *Tree) replaceable(name string, force bool) error {
	info, err := t.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		above, err := t.root.Stat(path.Dir(name))
		if err == nil && !above.IsDir() {
			err = unix.ENOTDIR
		}
		return err
	case err != nil:
		return err
	case info.IsDir():
		return unix.EISDIR
	case !force:
		return fs.ErrExist
	}
	return nil
}

func (t *Tree) put(name string, from io.Reader, w Wish, force bool) error {
	dir, err := t.root.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, temporary, err := newFile(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	before := t.room.soFar()
	err = t.fill(f, from)
	if err == nil {
		err = errors.Join(f.Chown(idOf(w.UID), idOf(w.GID)), f.Chmod(modeOf(*w.Mode)))
	}
	if err == nil {
		temporary, err = publish(dir, f, temporary, path.Base(name), force)
	}
	if temporary != "" {
		err = errors.Join(err, unix.Unlinkat(int(dir.Fd()), temporary, 0))
	}
	if err != nil {
		t.room.undo(before)
	}
	return err
}

// fill copies what is read. An error of reading is the caller's to know.
func (t *Tree) fill(f *os.File, from io.Reader) error {
	if err := t.room.take(blockSize); err != nil {
		return err
	}
	buffer := make([]byte, copySize)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if err := t.room.take(int64(n)); err != nil {
				return err
			}
			if _, err := f.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return &ReadError{err}
		}
	}
}

// ReadError is a failure to read what was to be put.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "read what is to be written: " + e.Err.Error() }

// Unwrap returns the reader's error.
func (e *ReadError) Unwrap() error { return e.Err }

// newFile makes a file without a name in a directory, or, where the file system knows none,
// one with a name of its own.
func newFile(dir *os.File) (f *os.File, name string, err error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		name = ".upload-" + rand.Text()
		fd, err = unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return nil, "", err
	}
	return os.NewFile(uintptr(fd), "upload"), name, nil
}

// publish gives a file its name, and returns the temporary one that is left. A link does that without
// a moment in which another's file could be lost; to replace one takes a temporary name and a rename.
func publish(dir, f *os.File, temporary, name string, force bool) (left string, err error) {
	at := int(dir.Fd())
	link := func(to string) error {
		if temporary != "" {
			return unix.Linkat(at, temporary, at, to, 0)
		}
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), at, to, unix.AT_SYMLINK_FOLLOW)
	}
	if err := link(name); err == nil || !force || !errors.Is(err, unix.EEXIST) {
		return temporary, err
	}
	if temporary == "" {
		unique := ".upload-" + rand.Text()
		if err := link(unique); err != nil {
			return "", err
		}
		temporary = unique
	}
	if err := unix.Renameat(at, temporary, at, name); err != nil {
		return temporary, err
	}
	return "", nil
}
