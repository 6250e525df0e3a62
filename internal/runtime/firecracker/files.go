package firecracker

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/sparse"
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
	return sparse.Copy(context.Background(), out, in)
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

// allocated is what a file takes on its disk, in bytes; 0 if it is not there.
func allocated(path string) int64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Blocks * 512
}
