package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Files of artifacts have holes: memory and disks of guests are mostly zeros. They are neither read nor copied nor
// counted.

// eachPart calls do with each part of a file, in order, that may be other than zero.
func eachPart(f *os.File, size int64, do func(from, to int64) error) error {
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

// stored is how many bytes of a file are in no hole.
func stored(path string, size int64) (sum int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = eachPart(f, size, func(from, to int64) error { sum += to - from; return nil })
	return sum, err
}

// copyStep is how many bytes are copied between two looks whether the copy is wanted still.
const copyStep = 16 << 20

// copyFile copies a file with its holes.
func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	err = eachPart(in, info.Size(), func(from, to int64) error {
		for from < to {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			n := min(copyStep, to-from)
			if err := copyPart(out, in, from, n); err != nil {
				return err
			}
			from += n
		}
		return nil
	})
	return errors.Join(err, out.Close())
}

func copyPart(out, in *os.File, at, n int64) error {
	for _, f := range []*os.File{in, out} {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
	}
	_, err := io.CopyN(out, in, n)
	return err
}
