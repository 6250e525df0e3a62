package block

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// file is what an overlay lies in; tests have one that loses power.
type file interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all that was written survives a loss of power.
	Sync() error
	// Punch makes a range read as zeros, and gives its room back if the file system can.
	Punch(off, length int64) error
	Close() error
}

type osFile struct{ *os.File }

var _ file = osFile{}

// ReadAt has zeros after the end of the file: it is sparse there, too.
func (f osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return len(p), nil
	}
	return n, err
}

func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (f osFile) Punch(off, length int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil // the room stays taken; the map knows that these are zeros
		default:
			return err
		}
	}
}

// lock keeps a second server from the file, until it is closed.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use by another server", f.Name())
	}
	return err
}
