package fuse

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Fields reads what follows a header, from its beginning to its end. What is not there reads as 0, and makes
// the message malformed.
type Fields struct {
	rest  []byte
	short bool
}

// NewFields reads a body.
func NewFields(body []byte) *Fields { return &Fields{rest: body} }

func (f *Fields) take(n int) []byte {
	if n < 0 || len(f.rest) < n {
		f.short = true
		return make([]byte, 8)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// Uint32 reads a number.
func (f *Fields) Uint32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }

// Uint64 reads a number.
func (f *Fields) Uint64() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

// Skip leaves bytes out.
func (f *Fields) Skip(n int) { f.take(n) }

// Bytes reads so many bytes; nil if they are not there.
func (f *Fields) Bytes(n uint32) []byte {
	if uint64(n) > uint64(len(f.rest)) {
		f.short = true
		return nil
	}
	return f.take(int(n))
}

// Text reads up to a zero, which must be there.
func (f *Fields) Text() string {
	text, rest, ok := bytes.Cut(f.rest, []byte{0})
	if !ok {
		f.short = true
		return ""
	}
	f.rest = rest
	return string(text)
}

// maxName is the longest name in a directory, in bytes.
const maxName = 255

// Name reads the name of an entry of a directory. One that leads elsewhere makes the message malformed.
func (f *Fields) Name() string {
	name := f.Text()
	if name == "" || name == "." || name == ".." || len(name) > maxName || strings.Contains(name, "/") {
		f.short = true
		return ""
	}
	return name
}

// Err tells whether all was there that was read.
func (f *Fields) Err() error {
	if f.short {
		return ErrMalformed
	}
	return nil
}
