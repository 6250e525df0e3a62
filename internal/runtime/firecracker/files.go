package firecracker

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// place makes a file of a jail that is not written to: another name for it where that is possible,
// else a copy. Others may read it.
func place(from, to string) error {
	err := os.Link(from, to)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK) {
		err = clone(from, to)
	}
	if err != nil {
		return err
	}
	return os.Chmod(to, 0o444)
}

// move moves a file, also to another file system.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	return errors.Join(clone(from, to), os.Remove(from))
}

// clone copies a file: its blocks are shared where the file system can, and holes stay holes.
func clone(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return copyOpen(in, out)
}

func copyOpen(in, out *os.File) error {
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	return overlay(in, out)
}

// overlay copies what is in a file, and not its holes, to the same places of another.
func overlay(from, to *os.File) error {
	buffer := make([]byte, copySize)
	return eachExtent(from, func(at, end int64) error {
		for at < end {
			n, err := from.ReadAt(buffer[:min(copySize, end-at)], at)
			if n == 0 {
				return errors.Join(err, io.ErrUnexpectedEOF)
			}
			if _, err := to.WriteAt(buffer[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
		return nil
	})
}

// copyInto copies a file to one that is open and empty, with its holes.
func copyInto(from string, to *os.File) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return copyOpen(in, to)
}

const copySize = 1 << 20 // bytes

// eachExtent calls f with the parts of a file that are no holes.
func eachExtent(file *os.File, f func(from, to int64) error) error {
	fd := int(file.Fd())
	var at int64
	for {
		from, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := f(from, at); err != nil {
			return err
		}
	}
}

// allocated is what a file takes on its disk, in bytes; 0 if it is not there.
func allocated(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}
