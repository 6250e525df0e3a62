package fuse

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Body writes what follows the header of a reply.
type Body struct{ b []byte }

// NewBody begins a reply with room for so many bytes.
func NewBody(room int) *Body { return &Body{make([]byte, ReplyHeaderSize, ReplyHeaderSize+room)} }

// Uint32 adds a number.
func (b *Body) Uint32(n uint32) { b.b = binary.LittleEndian.AppendUint32(b.b, n) }

// Uint64 adds a number.
func (b *Body) Uint64(n uint64) { b.b = binary.LittleEndian.AppendUint64(b.b, n) }

// Bytes adds bytes.
func (b *Body) Bytes(data []byte) { b.b = append(b.b, data...) }

// Size is how many bytes the body has.
func (b *Body) Size() int { return len(b.b) - ReplyHeaderSize }

// Finish returns the reply to a request.
func (b *Body) Finish(unique uint64) []byte {
	FinishReply(b.b, unique, 0)
	return b.b
}

// Attr adds a file's attributes.
func (b *Body) Attr(st *unix.Stat_t) {
	for _, n := range []uint64{st.Ino, uint64(st.Size), uint64(st.Blocks), uint64(st.Atim.Sec), uint64(st.Mtim.Sec),
		uint64(st.Ctim.Sec)} {
		b.Uint64(n)
	}
	for _, n := range []uint32{uint32(st.Atim.Nsec), uint32(st.Mtim.Nsec), uint32(st.Ctim.Nsec), st.Mode,
		uint32(st.Nlink), st.Uid, st.Gid, uint32(st.Rdev), uint32(st.Blksize), 0} {
		b.Uint32(n)
	}
}

// AttrReply adds the body of a reply that has attributes, which are good for no time.
func (b *Body) AttrReply(st *unix.Stat_t) {
	b.Uint64(0)
	b.Uint64(0)
	b.Attr(st)
}

// Entry adds a file that was found by its name, which it has for no time.
func (b *Body) Entry(node uint64, st *unix.Stat_t) {
	b.Uint64(node)
	for range 4 { // generation, times
		b.Uint64(0)
	}
	b.Attr(st)
}

// openDirect is that no page of the file is to be kept by the guest's kernel.
const openDirect = 1 << 0

// Opened adds an open file.
func (b *Body) Opened(handle uint64, direct bool) {
	b.Uint64(handle)
	flags := uint32(0)
	if direct {
		flags = openDirect
	}
	b.Uint32(flags)
	b.Uint32(0)
}

// forgetEntry is the notice of an entry that the kernel is to forget.
const forgetEntry = 3

// ForgetEntry makes a message that answers nothing: the kernel is to forget an entry of a directory.
func ForgetEntry(dir uint64, entry string) []byte {
	b := NewBody(16 + len(entry) + 1)
	b.Uint64(dir)
	b.Uint32(uint32(len(entry)))
	b.Uint32(0)
	b.Bytes(append([]byte(entry), 0))
	FinishReply(b.b, 0, -forgetEntry)
	return b.b
}

// direntSize is that of an entry of a directory without its name, in bytes.
const direntSize = 24

// Dirent adds an entry of a directory unless the body would be longer than so many bytes. next is the offset
// of the entry after it.
func (b *Body) Dirent(ino, next uint64, kind uint32, name string, most uint32) bool {
	padded := (direntSize + len(name) + 7) &^ 7
	if b.Size()+padded > int(most) {
		return false
	}
	b.Uint64(ino)
	b.Uint64(next)
	b.Uint32(uint32(len(name)))
	b.Uint32(kind)
	b.Bytes([]byte(name))
	b.Bytes(make([]byte, padded-direntSize-len(name)))
	return true
}
