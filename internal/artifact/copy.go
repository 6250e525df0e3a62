package artifact

import (
	"context"
	"errors"
	"os"

	"shoal/internal/sparse"
)

// stored is how many bytes of a file are in no hole: memory and disks of guests are mostly zeros.
func stored(path string, size int64) (sum int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = sparse.Each(f, size, func(from, to int64) error { sum += to - from; return nil })
	return sum, err
}

// copyFile copies a file with its holes.
func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	return errors.Join(sparse.Copy(ctx, out, in), out.Close())
}
