// Package cpio writes archives that Linux unpacks as its first root file system (newc). Several of
// them may follow one another.
package cpio

import (
	"fmt"
	"io"
)

const (
	typeDir    = 0o040000
	typeFile   = 0o100000
	typeDevice = 0o020000 // a character device
)

// Writer writes one archive. Names are relative; directories come before what is in them.
type Writer struct {
	w    io.Writer
	n    int64
	next uint32
}

// NewWriter begins an archive.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w, next: 1} }

// Dir adds a directory that belongs to root.
func (w *Writer) Dir(name string) error { return w.entry(name, typeDir|0o755, nil, 0, 0) }

// File adds a file that belongs to root.
func (w *Writer) File(name string, perm uint32, data []byte) error {
	return w.entry(name, typeFile|perm, data, 0, 0)
}

// Device adds a character device that belongs to root.
func (w *Writer) Device(name string, perm, major, minor uint32) error {
	return w.entry(name, typeDevice|perm, nil, major, minor)
}

// Close ends the archive, and not the writer below.
func (w *Writer) Close() error { return w.entry("TRAILER!!!", 0, nil, 0, 0) }

func (w *Writer) entry(name string, mode uint32, data []byte, major, minor uint32) error {
	// Inode, mode, owner, group, links, time, size, device, device of the node, length of the
	// name with its end, checksum.
	header := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		w.next, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	w.next++
	for _, part := range [][]byte{[]byte(header + name + "\x00"), nil, data, nil} {
		if part == nil {
			part = make([]byte, (4-w.n%4)%4)
		}
		n, err := w.w.Write(part)
		w.n += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}
