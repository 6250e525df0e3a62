package artifact

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum computes a file's size and CRC-32C.
func sum(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	return sumParts(f, func(int64, int64) error { return nil })
}

// sumParts is sum, and calls done after each part that it has read. What the file system knows to be a hole is not
// read: memory and disks of guests are mostly holes.
func sumParts(f *os.File, done func(at, n int64) error) (File, error) {
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	var crc uint32
	buffer := make([]byte, 1<<20)
	for at, size := int64(0), info.Size(); at < size; {
		data, end, err := nextData(f, at, size)
		if err != nil {
			return File{}, err
		}
		crc = sumZeros(crc, data-at)
		for at = data; at < end; {
			part := buffer[:min(int64(len(buffer)), end-at)]
			if _, err := f.ReadAt(part, at); err != nil {
				return File{}, fmt.Errorf("read %s: %w", f.Name(), err)
			}
			crc = crc32.Update(crc, castagnoli, part)
			if err := done(at, int64(len(part))); err != nil {
				return File{}, err
			}
			at += int64(len(part))
		}
	}
	return File{Name: filepath.Base(f.Name()), Size: info.Size(), CRC32C: crc}, nil
}

// nextData finds the next part of a file, from an offset on, that may be other than zero; it is at the file's end, and
// empty, if there is none.
func nextData(f *os.File, at, size int64) (from, to int64, err error) {
	from, err = f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		to, err = f.Seek(from, unix.SEEK_HOLE)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look for holes of %s: %w", f.Name(), err)
	}
	return min(from, size), min(to, size), nil
}

// matrix is a linear map of the 32 bits of a checksum: column i is what becomes of bit i.
type matrix [32]uint32

func (m *matrix) times(v uint32) (product uint32) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			product ^= m[i]
		}
	}
	return product
}

// zeros has, at i, what 1<<i bytes that are zero do to the register of the checksum.
var zeros = sync.OnceValue(func() *[63]matrix {
	var powers [63]matrix
	for i := range 32 {
		powers[0][i] = ^crc32.Update(^uint32(1<<i), castagnoli, []byte{0})
	}
	for p := 1; p < len(powers); p++ {
		for i := range 32 {
			powers[p][i] = powers[p-1].times(powers[p-1][i])
		}
	}
	return &powers
})

// sumZeros is the checksum of what had the checksum crc, with n zeros after it.
func sumZeros(crc uint32, n int64) uint32 {
	powers, register := zeros(), ^crc
	for p := 0; n != 0; p, n = p+1, n>>1 {
		if n&1 != 0 {
			register = powers[p].times(register)
		}
	}
	return ^register
}
