package block

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// An overlay's file, all numbers in little endian:
//
//	0      header (below)
//	4096   places: 64 times {first block u64, blocks u64}, what was being written
//	8192   regions: a bit for each 64 MiB of the disk that is being written to
//	16384  map: an entry u64 for each block
//	…      from a multiple of 1 MiB on: the blocks, each at its own place; a hole where nothing is kept
//
// The header is written in one sector, so that it is either the earlier or the later one.
const (
	version      = 1
	headerSize   = 512
	placesAt     = 4096
	places       = 64
	placeSize    = 16
	regionsAt    = 8192
	regionBlocks = 64 << 20 / Size // of a region; tests have smaller ones
	mapAt        = 16384
	alignment    = 1 << 20
	maxName      = 128
)

var magic = [8]byte{'s', 'h', 'o', 'a', 'l', 'b', 'l', 'k'}

// The header's flags.
const (
	flagClosed = 1 << iota // nothing was being written; mapSum is that of the map
	flagSealed             // a layer, which does not change any more
)

// header is what an overlay says of itself.
type header struct {
	flags uint32
	size  int64  // of the disk, bytes
	epoch uint32 // what changes now is of this one; at least 1
	id    [16]byte
	boot  [16]byte // of the machine, when it was opened last
	// mapSum is the checksum of the map, if flagClosed is set.
	mapSum uint32
	below  string // the name of what it stands on
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // does not fail
	return id
}

func (h *header) blocks() int64 { return h.size / Size }

// data is where block 0 is in the file.
func (h *header) data() int64 { return dataOffset(h.size) }

func dataOffset(size int64) int64 {
	return (mapAt + size/Size*8 + alignment - 1) / alignment * alignment
}

func (h *header) encode() []byte {
	p := make([]byte, headerSize)
	copy(p, magic[:])
	binary.LittleEndian.PutUint32(p[8:], version)
	binary.LittleEndian.PutUint32(p[12:], Size)
	binary.LittleEndian.PutUint32(p[16:], h.flags)
	binary.LittleEndian.PutUint32(p[20:], h.epoch)
	binary.LittleEndian.PutUint64(p[24:], uint64(h.size))
	copy(p[32:], h.id[:])
	copy(p[48:], h.boot[:])
	binary.LittleEndian.PutUint32(p[64:], h.mapSum)
	p[68] = byte(len(h.below))
	copy(p[72:], h.below)
	binary.LittleEndian.PutUint32(p[headerSize-4:], checksum(p[:headerSize-4]))
	return p
}

// decodeHeader reads what encode wrote; what says that it is damaged.
func decodeHeader(p []byte) (h header, what string) {
	if len(p) < headerSize {
		return h, "it is shorter than its header"
	}
	p = p[:headerSize]
	if !bytes.Equal(p[:8], magic[:]) {
		return h, "it does not begin as an overlay does"
	}
	if binary.LittleEndian.Uint32(p[headerSize-4:]) != checksum(p[:headerSize-4]) {
		return h, "the checksum of its header is wrong"
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v != version {
		return h, fmt.Sprintf("it has version %d, and this program reads %d", v, version)
	}
	if b := binary.LittleEndian.Uint32(p[12:]); b != Size {
		return h, fmt.Sprintf("it has blocks of %d bytes", b)
	}
	h.flags = binary.LittleEndian.Uint32(p[16:])
	h.epoch = binary.LittleEndian.Uint32(p[20:])
	size := binary.LittleEndian.Uint64(p[24:])
	copy(h.id[:], p[32:])
	copy(h.boot[:], p[48:])
	h.mapSum = binary.LittleEndian.Uint32(p[64:])
	if p[68] > maxName || size == 0 || size > MaxDisk || size%Size != 0 || h.epoch == 0 || h.epoch > maxEpoch {
		return h, "its header has values that do not exist"
	}
	h.size = int64(size)
	h.below = string(p[72 : 72+int(p[68])])
	return h, ""
}

// entry is what the map knows of a block: bits 0–31 the checksum of what is kept, 32–39 a check of the
// entry itself, 40–61 the epoch in which it changed last, 62–63 the state. 0 is a block of the base.
type entry uint64

type state uint8

const (
	below state = iota // nothing is kept: it is the base's
	kept               // in the overlay
	zero               // reads as zeros, and takes nothing
)

const maxEpoch = 1<<22 - 1

// unknown is in memory what is damaged in the file.
const unknown = entry(3 << 62)

func newEntry(block int64, s state, epoch, sum uint32) entry {
	if s == below {
		return 0
	}
	e := entry(s)<<62 | entry(epoch)<<40 | entry(sum)
	return e | entry(entryCheck(block, e))<<32
}

// entryCheck mixes all other bits with the block's number.
func entryCheck(block int64, e entry) uint8 {
	x := (uint64(e)&^(0xff<<32) ^ uint64(block)<<17 ^ 0x5bd1) * 0x9e3779b97f4a7c15
	return uint8(x >> 56)
}

func (e entry) state() state  { return state(e >> 62) }
func (e entry) epoch() uint32 { return uint32(e>>40) & maxEpoch }
func (e entry) sum() uint32   { return uint32(e) }

// valid tells whether an entry that was read is one that was written.
func (e entry) valid(block int64) bool {
	if e == 0 {
		return true
	}
	return (e.state() == kept || e.state() == zero) && e.epoch() > 0 && uint8(e>>32) == entryCheck(block, e)
}

// bootID tells two boots of the machine apart: after another one, what was not flushed may be lost.
func bootID() (id [16]byte, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id, fmt.Errorf("the boot's ID: %w", err)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("the boot's ID %q is none", text)
	}
	copy(id[:], raw)
	return id, nil
}
