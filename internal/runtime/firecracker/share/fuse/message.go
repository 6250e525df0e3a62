// Package fuse is the messages of Linux's FUSE protocol, as far as volumes of microVMs use them. What
// decodes them trusts nothing of what is in them: the guest's kernel writes them, and the guest is an enemy.
package fuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Opcode says what a message asks for.
type Opcode uint32

// Opcodes, by their names in Linux.
const (
	Lookup        Opcode = 1
	Forget        Opcode = 2 // no reply
	GetAttr       Opcode = 3
	SetAttr       Opcode = 4
	ReadLink      Opcode = 5
	Symlink       Opcode = 6
	MkNod         Opcode = 8
	MkDir         Opcode = 9
	Unlink        Opcode = 10
	RmDir         Opcode = 11
	Rename        Opcode = 12
	Link          Opcode = 13
	Open          Opcode = 14
	Read          Opcode = 15
	Write         Opcode = 16
	StatFS        Opcode = 17
	Release       Opcode = 18
	FSync         Opcode = 20
	SetXAttr      Opcode = 21
	GetXAttr      Opcode = 22
	ListXAttr     Opcode = 23
	RemoveXAttr   Opcode = 24
	Flush         Opcode = 25
	Init          Opcode = 26
	OpenDir       Opcode = 27
	ReadDir       Opcode = 28
	ReleaseDir    Opcode = 29
	FSyncDir      Opcode = 30
	GetLock       Opcode = 31
	SetLock       Opcode = 32
	SetLockWait   Opcode = 33
	Access        Opcode = 34
	Create        Opcode = 35
	Interrupt     Opcode = 36 // no reply
	Destroy       Opcode = 38
	BatchForget   Opcode = 42 // no reply
	FAllocate     Opcode = 43
	Rename2       Opcode = 45
	LSeek         Opcode = 46
	CopyFileRange Opcode = 47
)

// Sizes of what every message begins with, in bytes.
const (
	HeaderSize      = 40
	ReplyHeaderSize = 16
)

const (
	// MaxWrite bounds what one message reads or writes, in bytes.
	MaxWrite = 1 << 20
	// MaxPages is the same in pages.
	MaxPages = MaxWrite / 4096
	// MaxMessage bounds a message or a reply with its header, in bytes.
	MaxMessage = MaxWrite + 8192
	// Root is the node that is there from the beginning.
	Root = 1
)

// Header is what a request begins with.
type Header struct {
	Length uint32 // of the whole, in bytes
	Opcode Opcode
	Unique uint64 // of the request; its reply has the same
	Node   uint64
	UID    uint32
	GID    uint32
	PID    uint32
}

// Unanswered tells whether a message has no reply.
func (h Header) Unanswered() bool {
	return h.Opcode == Forget || h.Opcode == BatchForget || h.Opcode == Interrupt
}

// ErrMalformed means that bytes are no message.
var ErrMalformed = errors.New("a malformed FUSE message")

// ParseHeader reads the beginning of a message that is otherwise not looked at.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrMalformed
	}
	le := binary.LittleEndian
	return Header{Length: le.Uint32(b), Opcode: Opcode(le.Uint32(b[4:])), Unique: le.Uint64(b[8:]), Node: le.Uint64(b[16:]),
		UID: le.Uint32(b[24:]), GID: le.Uint32(b[28:]), PID: le.Uint32(b[32:])}, nil
}

// ReadMessage reads one message of a stream, whose header is at least least bytes long.
func ReadMessage(r io.Reader, least int) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(length[:]))
	if n < least || n > MaxMessage {
		return nil, fmt.Errorf("%w of %d bytes", ErrMalformed, n)
	}
	message := make([]byte, n)
	copy(message, length[:])
	if _, err := io.ReadFull(r, message[len(length):]); err != nil {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return message, nil
}

// Reply makes a reply that is an error, or that has nothing but that it was done (0).
func Reply(unique uint64, errno int) []byte {
	b := make([]byte, ReplyHeaderSize)
	FinishReply(b, unique, errno)
	return b
}

// FinishReply fills in the header of a reply.
func FinishReply(b []byte, unique uint64, errno int) {
	le := binary.LittleEndian
	le.PutUint32(b, uint32(len(b)))
	le.PutUint32(b[4:], uint32(-int32(errno)))
	le.PutUint64(b[8:], unique)
}

// ReplyUnique is which request a reply answers.
func ReplyUnique(b []byte) (uint64, error) {
	if len(b) < ReplyHeaderSize {
		return 0, ErrMalformed
	}
	return binary.LittleEndian.Uint64(b[8:]), nil
}
