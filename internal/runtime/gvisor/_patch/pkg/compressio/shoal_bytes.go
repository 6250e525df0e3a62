package compressio

import "io"

var _ io.ByteReader = (*SimpleReader)(nil)

// ReadByte implements io.ByteReader.ReadByte. Most of a kernel's state is read one byte at
// a time.
func (r *SimpleReader) ReadByte() (byte, error) {
	if r.h == nil {
		return r.bin.ReadByte()
	}
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}
