package artifact

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"shoal/internal/sparse"
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
	file := File{Name: filepath.Base(f.Name()), Size: info.Size()}
	buffer := make([]byte, 1<<20)
	var at int64
	err = sparse.Each(f, file.Size, func(from, to int64) error {
		file.CRC32C = sumZeros(file.CRC32C, from-at)
		file.Stored += to - from
		for at = from; at < to; {
			part := buffer[:min(int64(len(buffer)), to-at)]
			if _, err := f.ReadAt(part, at); err != nil {
				return fmt.Errorf("read %s: %w", f.Name(), err)
			}
			file.CRC32C = crc32.Update(file.CRC32C, castagnoli, part)
			if err := done(at, int64(len(part))); err != nil {
				return err
			}
			at += int64(len(part))
		}
		return nil
	})
	file.CRC32C = sumZeros(file.CRC32C, file.Size-at)
	return file, err
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
