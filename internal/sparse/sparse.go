// Package sparse reads and copies files of which much is holes, as memory and disks of guests are, without what is
// in no block of the file system.
package sparse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Each calls do with each part of the first size bytes of a file, in order, that is no hole. It moves the file's
// position.
func Each(f *os.File, size int64, do func(from, to int64) error) error {
	for at := int64(0); at < size; {
		from, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // the rest is a hole
		}
		to := size
		if err == nil {
			to, err = f.Seek(from, unix.SEEK_HOLE)
		}
		if err != nil {
			return fmt.Errorf("look for holes of %s: %w", f.Name(), err)
		}
		if at = min(to, size); from >= at {
			return nil
		}
		if err := do(from, at); err != nil {
			return err
		}
	}
	return nil
}

// Copy makes an empty file a copy of another one, with its holes. It moves the positions of both.
func Copy(ctx context.Context, to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(info.Size()); err != nil {
		return err
	}
	return Overlay(ctx, to, from)
}

// copyStep is how many bytes are copied between two looks whether the copy is wanted still.
const copyStep = 16 << 20

// Overlay copies what is in a file, and not its holes, to the same places of another. It moves the positions of both.
func Overlay(ctx context.Context, to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	return Each(from, info.Size(), func(at, end int64) error {
		for at < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(copyStep, end-at)
			if err := copyPart(to, from, at, n); err != nil {
				return err
			}
			at += n
		}
		return nil
	})
}

func copyPart(to, from *os.File, at, n int64) error {
	for _, f := range []*os.File{from, to} {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := io.CopyN(to, from, n)
	return err
}
