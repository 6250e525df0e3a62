package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// someNames is how many files aDirectoryOfManyNames makes: more than a kernel keeps in memory.
const someNames = 9000

// namesThatChange looks names up before and after each change to what they lead to, and says
// what is not as the change left it.
func namesThatChange() (string, error) {
	const dir = "/names"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, change := range []func(dir string) error{
		aFileOfTwoNames, aFIFO, aNameTakenAgain, aFileReplaced, aDirectoryMoved, aFileOfTheImage, roomOfARemovedFile,
		aDirectoryOfManyNames,
	} {
		if err := change(dir); err != nil {
			return "", err
		}
	}
	return "as it was left", nil
}

// is looks a name up, twice, because the second time it may come from memory.
func is(path string, mode fs.FileMode, size int64) error {
	for range 2 {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if info.Mode() != mode || (info.Mode().IsRegular() && info.Size() != size) {
			return fmt.Errorf("%s: %v of %d bytes, want %v of %d", path, info.Mode(), info.Size(), mode, size)
		}
	}
	return nil
}

func isNot(path string) error {
	for range 2 {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w, want that it does not exist", path, err)
		}
	}
	return nil
}

// has counts the entries of a directory.
func has(dir string, entries int) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	buf, n := make([]byte, 1<<20), 0
	for {
		got, err := unix.ReadDirent(int(f.Fd()), buf)
		if err != nil || got == 0 {
			if err == nil && n != entries {
				err = fmt.Errorf("%s has %d entries, want %d", dir, n, entries)
			}
			return err
		}
		_, found, _ := unix.ParseDirent(buf[:got], -1, nil)
		n += found
	}
}

func write(path string, size int, mode fs.FileMode) error {
	return os.WriteFile(path, make([]byte, size), mode)
}

// aFileOfTwoNames: what is changed by one name is changed by the other.
func aFileOfTwoNames(dir string) error {
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	return errors.Join(write(one, 1, 0o644), is(one, 0o644, 1), os.Link(one, other), is(other, 0o644, 1),
		os.Chmod(one, 0o600), is(other, 0o600, 1), is(one, 0o600, 1),
		os.Chmod(other, 0o400), is(one, 0o400, 1), is(other, 0o400, 1),
		os.Remove(one), isNot(one), is(other, 0o400, 1), os.Remove(other), isNot(other), has(dir, 0))
}

// aFIFO: its mode is changed through what has opened it.
func aFIFO(dir string) error {
	path := filepath.Join(dir, "fifo")
	if err := errors.Join(syscall.Mkfifo(path, 0o644), is(path, fs.ModeNamedPipe|0o644, 0)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close(), is(path, fs.ModeNamedPipe|0o600, 0), os.Remove(path), isNot(path))
}

func aNameTakenAgain(dir string) error {
	path := filepath.Join(dir, "again")
	return errors.Join(isNot(path), write(path, 3, 0o644), is(path, 0o644, 3), has(dir, 1),
		os.Remove(path), isNot(path), has(dir, 0),
		os.Symlink("nowhere", path), is(path, fs.ModeSymlink|0o777, 0), os.Remove(path), isNot(path),
		os.Mkdir(path, 0o700), is(path, fs.ModeDir|0o700, 0), has(path, 0), os.Remove(path), isNot(path), has(dir, 0))
}

func aFileReplaced(dir string) error {
	path, other := filepath.Join(dir, "replaced"), filepath.Join(dir, "new")
	return errors.Join(write(path, 5, 0o644), is(path, 0o644, 5), write(other, 6, 0o600), is(other, 0o600, 6), has(dir, 2),
		os.Rename(other, path), is(path, 0o600, 6), isNot(other), has(dir, 1), os.Remove(path), has(dir, 0))
}

func aDirectoryMoved(dir string) error {
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	file := func(dir string) string { return filepath.Join(dir, "moved", "file") }
	return errors.Join(os.MkdirAll(filepath.Join(from, "moved"), 0o755), os.Mkdir(to, 0o755), write(file(from), 7, 0o644),
		is(file(from), 0o644, 7), has(filepath.Join(from, "moved"), 1),
		os.Rename(filepath.Join(from, "moved"), filepath.Join(to, "moved")),
		isNot(file(from)), is(file(to), 0o644, 7), has(from, 0), has(filepath.Join(to, "moved"), 1),
		os.RemoveAll(from), os.RemoveAll(to), isNot(file(to)), has(dir, 0))
}

// aFileOfTheImage: what is written is a copy, and what is removed does not come back.
func aFileOfTheImage(string) error {
	const path = "/image-file"
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := errors.Join(is(path, info.Mode(), info.Size()), os.Chmod(path, 0o600), is(path, 0o600, info.Size())); err != nil {
		return err
	}
	return errors.Join(write(path, 2, 0o600), is(path, 0o600, 2), os.Remove(path), isNot(path),
		write(path, 4, 0o644), is(path, 0o644, 4), os.Remove(path), isNot(path))
}

// roomOfARemovedFile: a file that is gone takes no room, though its name was looked up.
func roomOfARemovedFile(dir string) error {
	path := filepath.Join(dir, "large")
	free := func() (uint64, error) {
		var stat unix.Statfs_t
		err := unix.Statfs(dir, &stat)
		return stat.Bfree * uint64(stat.Bsize), err
	}
	before, err := free()
	if err != nil {
		return err
	}
	if err := errors.Join(write(path, 16<<20, 0o644), is(path, 0o644, 16<<20), os.Remove(path), isNot(path)); err != nil {
		return err
	}
	after, err := free()
	if err == nil && after+1<<20 < before {
		err = fmt.Errorf("%d bytes are free after a file was removed, %d before it was made", after, before)
	}
	return err
}

func aDirectoryOfManyNames(dir string) error {
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		return err
	}
	each := func(do func(path string) error) error {
		for n := range someNames {
			if err := do(filepath.Join(many, fmt.Sprint(n))); err != nil {
				return err
			}
		}
		return nil
	}
	if err := each(func(path string) error { return write(path, 0, 0o644) }); err != nil {
		return err
	}
	look := func(path string) error { return is(path, 0o644, 0) }
	return errors.Join(each(look), has(many, someNames), each(look), each(os.Remove), has(many, 0), each(isNot),
		os.Remove(many), isNot(many), has(dir, 0))
}
