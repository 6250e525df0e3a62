// Package block is the disks of microVMs: a read-only base that guests share, an overlay with what a
// guest has changed, and a server that gives them to the kernel as /dev/nbdN.
//
// An overlay is one sparse file. Blocks of 4 KiB are kept in it with a checksum each, or are known to
// be zeros; all others are the base's. What was flushed is there after the server or the machine was
// killed at any instant, and a server that starts again goes on where the last one ended, without an
// error to the guest.
//
// Nothing here is global: a process may serve any number of disks, and each is built, run and closed
// by itself.
package block

import (
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

const (
	// Size is that of a block in bytes: what is kept, checked and copied as a whole.
	Size = 4096
	// MaxDisk is the largest disk in bytes.
	MaxDisk = 2 << 40
)

var (
	// ErrFull means that the overlay holds as many blocks as it may.
	ErrFull = errors.New("the disk's overlay is full")
	// ErrDamaged is what every DamageError is.
	ErrDamaged = errors.New("damaged")
	// ErrOtherBase means that an overlay belongs on another base than the one given.
	ErrOtherBase = errors.New("the overlay stands on another base")
	// ErrRange means that something outside of the disk was asked for.
	ErrRange = errors.New("outside of the disk")
	// ErrClosed means that the disk was closed before.
	ErrClosed = errors.New("the disk is closed")
)

// DamageError tells of bytes that are not those that were written.
type DamageError struct {
	File string // that is damaged
	// Block is the number of the damaged block on the disk; -1 if it is the file as a whole.
	Block int64
	What  string
}

// Error names the file and the place.
func (e *DamageError) Error() string {
	if e.Block < 0 {
		return fmt.Sprintf("%s is damaged: %s", e.File, e.What)
	}
	return fmt.Sprintf("%s is damaged: %s, block %d (byte %d of the disk)", e.File, e.What, e.Block, e.Block*Size)
}

// Is makes it an ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Backing is what lies below an overlay. It does not change while it is used.
type Backing interface {
	// ReadAt reads what is inside of Size; what is outside reads as zeros.
	ReadAt(p []byte, off int64) (int, error)
	// Size is in bytes.
	Size() int64
	// Zeros tells whether a range is known to be zeros, without reading it.
	Zeros(off, length int64) bool
	// Name identifies the content: an overlay is refused on anything with another name.
	Name() string
}

// checksum is half of an XXH64: as good as a CRC at finding damage, and fast on processors without
// instructions for that, such as emulated ones.
func checksum(p []byte) uint32 { return uint32(xxhash.Sum64(p)) }

var zeros [Size]byte

// isZero tells whether p, whose length is at most Size, is all zeros.
func isZero(p []byte) bool { return string(p) == string(zeros[:len(p)]) }
