package block

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Base is a file with the image that disks begin with. Any number of disks may read it at once.
type Base struct {
	file *os.File
	size int64
	name string
}

var _ Backing = (*Base)(nil)

// OpenBase opens a file that does not change any more. Its name, of at most 128 bytes, is to say what
// is in it, as a hash does, and not where it lies.
func OpenBase(path, name string) (*Base, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("the name of the base %s has %d bytes, more than %d", path, len(name), maxName)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the base of a disk: %w", err)
	}
	size, err := file.Seek(0, io.SeekEnd) // of block devices too
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("size of the base of a disk: %w", err)
	}
	return &Base{file: file, size: size, name: name}, nil
}

// ReadAt is Backing's.
func (b *Base) ReadAt(p []byte, off int64) (int, error) {
	inside := min(max(b.size-off, 0), int64(len(p)))
	n, err := b.file.ReadAt(p[:inside], off)
	if errors.Is(err, io.EOF) { // it was cut short
		return n, &DamageError{File: b.file.Name(), Block: (off + int64(n)) / Size, What: "it ends too early"}
	}
	if err != nil {
		return n, fmt.Errorf("read the base of a disk: %w", err)
	}
	clear(p[inside:])
	return len(p), nil
}

// Size is Backing's.
func (b *Base) Size() int64 { return b.size }

// Name is Backing's.
func (b *Base) Name() string { return b.name }

// Zeros is true beyond the end and for holes.
func (b *Base) Zeros(off, length int64) bool {
	if off >= b.size {
		return true
	}
	// The position is the file's, but nothing else uses it.
	next, err := unix.Seek(int(b.file.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // no data from there on
		return true
	}
	return err == nil && next >= off+length
}

// Close ends reading.
func (b *Base) Close() error { return b.file.Close() }
