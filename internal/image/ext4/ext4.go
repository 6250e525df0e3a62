// Package ext4 reads ext4 file systems that guests have written, and tells what they have changed
// (Changes). Every byte of one is the guest's, which may be hostile: whatever is in it, reading it ends,
// within bounds of time and memory, with its content or with an error. The host's kernel never sees it.
//
// It reads what package image writes, and what Linux makes of that: extents and lists of blocks, hashed
// directories, 64-bit group descriptors. It reads neither journals nor features that are not in supported.
// Names follow the Linux kernel's documentation of the format.
package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	blockSize       = 4096
	blocksPerGroup  = 8 * blockSize // a group has one block of bits
	superblockAt    = 1024
	superblockMagic = 0xef53
	rootInode       = 2
	firstInode      = 11 // those before it are the file system's own
	maxInodeSize    = 1024
)

// Incompatible features, and those that are read.
const (
	hasFileTypes   = 0x2
	hasExtents     = 0x40
	has64Bit       = 0x80
	hasFlexGroups  = 0x200
	hasChecksumOf  = 0x2000 // a seed of checksums
	hasLargeDirs   = 0x4000
	supported      = hasFileTypes | hasExtents | has64Bit | hasFlexGroups | hasChecksumOf | hasLargeDirs
	smallGroupSize = 32 // bytes of a descriptor
	largeGroupSize = 64
)

// DamageError is a file system that is not as Linux leaves one, or has what is not supported.
type DamageError struct {
	Where string // a path, an inode, or a part of the file system
	What  string
}

func (e *DamageError) Error() string { return e.Where + ": " + e.What }

func damaged(where, format string, args ...any) error {
	return &DamageError{Where: where, What: fmt.Sprintf(format, args...)}
}

// FS is a file system that does not change meanwhile. One goroutine may use it.
type FS struct {
	from      io.ReaderAt
	blocks    uint64
	inodes    uint32
	perGroup  uint32 // inodes
	inodeSize int
	tables    []uint64 // block of each group's inodes

	// What may still be read. Each block belongs to one file, so reading more is going in circles.
	treeBlocks, dataBlocks int64
	entriesLeft            int64
	cache                  [cacheSize]cached
}

// cacheSize is how many blocks of inodes are kept.
const cacheSize = 64

type cached struct {
	block uint64 // 0 is none
	data  []byte
}

// Open begins to read a file system of at most size bytes. A reader that cannot read is an error of its own,
// anything else that is wrong a DamageError.
func Open(from io.ReaderAt, size int64) (*FS, error) {
	sb := make([]byte, 1024)
	if err := readFull(from, sb, superblockAt); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	const where = "the superblock"
	if le.Uint16(sb[56:]) != superblockMagic {
		return nil, damaged(where, "there is none")
	}
	if le.Uint32(sb[24:]) != 2 || le.Uint32(sb[32:]) != blocksPerGroup || le.Uint32(sb[20:]) != 0 {
		return nil, damaged(where, "blocks are not of %d bytes, %d in a group", blockSize, blocksPerGroup)
	}
	features := le.Uint32(sb[96:])
	if more := features &^ supported; more != 0 {
		return nil, damaged(where, "features %#x are not supported", more)
	}
	fs := &FS{from: from, blocks: uint64(le.Uint32(sb[4:])), inodes: le.Uint32(sb[0:]),
		perGroup: le.Uint32(sb[40:]), inodeSize: int(le.Uint16(sb[88:]))}
	descriptor := smallGroupSize
	if features&has64Bit != 0 {
		fs.blocks |= uint64(le.Uint32(sb[336:])) << 32
		descriptor = int(le.Uint16(sb[254:]))
	}
	groups := (fs.blocks + blocksPerGroup - 1) / blocksPerGroup
	switch {
	case fs.blocks < 2 || fs.blocks > uint64(size)/blockSize:
		return nil, damaged(where, "%d blocks, and the disk has %d", fs.blocks, size/blockSize)
	case fs.inodeSize < 128 || fs.inodeSize > maxInodeSize || fs.inodeSize&(fs.inodeSize-1) != 0:
		return nil, damaged(where, "inodes of %d bytes", fs.inodeSize)
	case descriptor != smallGroupSize && descriptor != largeGroupSize:
		return nil, damaged(where, "descriptors of groups of %d bytes", descriptor)
	case fs.perGroup == 0 || fs.perGroup > blocksPerGroup || uint64(fs.inodes) != groups*uint64(fs.perGroup):
		return nil, damaged(where, "%d inodes in %d groups of %d", fs.inodes, groups, fs.perGroup)
	}
	fs.treeBlocks, fs.dataBlocks = int64(fs.blocks), int64(fs.blocks)
	fs.entriesLeft = 4*int64(fs.inodes) + 1024
	return fs, fs.readGroups(int(groups), descriptor)
}

// readGroups finds where each group has its inodes.
func (fs *FS) readGroups(groups, size int) error {
	table := make([]byte, groups*size)
	if uint64(len(table)) > (fs.blocks-1)*blockSize {
		return damaged("the descriptors of groups", "they are larger than the file system")
	}
	if err := readFull(fs.from, table, blockSize); err != nil {
		return err
	}
	le := binary.LittleEndian
	long := uint64(fs.perGroup) * uint64(fs.inodeSize) / blockSize
	fs.tables = make([]uint64, groups)
	for g := range fs.tables {
		d := table[g*size:]
		at := uint64(le.Uint32(d[8:]))
		if size == largeGroupSize {
			at |= uint64(le.Uint32(d[40:])) << 32
		}
		if at == 0 || at > math.MaxInt64/blockSize || at+long > fs.blocks {
			return damaged("the descriptors of groups", "group %d has its inodes at block %d", g, at)
		}
		fs.tables[g] = at
	}
	return nil
}

// Size is the file system's, in bytes.
func (fs *FS) Size() int64 { return int64(fs.blocks) * blockSize }

// readFull reads all of p, or fails: a disk that is too short is damaged.
func readFull(from io.ReaderAt, p []byte, at int64) error {
	n, err := from.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF:
		return damaged("the disk", "it ends at %d", at+int64(n))
	}
	return fmt.Errorf("read the guest's disk: %w", err)
}

// block reads blocks that are known to be in the file system.
func (fs *FS) block(p []byte, at uint64) error {
	if at == 0 || at+uint64(len(p)/blockSize) > fs.blocks {
		return damaged("the disk", "block %d is not in the file system", at)
	}
	return readFull(fs.from, p, int64(at)*blockSize)
}

// treeBlock reads a block of a directory or of a map of a file. All of them together are not more than the
// file system has.
func (fs *FS) treeBlock(p []byte, at uint64) error {
	fs.treeBlocks--
	if fs.treeBlocks < 0 {
		return damaged("the disk", "its directories and maps of files go in circles")
	}
	return fs.block(p[:blockSize], at)
}

// inode reads an inode that a name leads to.
func (fs *FS) inode(number uint32) (*inode, error) {
	if number != rootInode && number < firstInode || number > fs.inodes {
		return nil, damaged("the disk", "a name leads to inode %d of %d", number, fs.inodes)
	}
	index := number - 1
	offset := uint64(index%fs.perGroup) * uint64(fs.inodeSize)
	at := fs.tables[index/fs.perGroup] + offset/blockSize
	keep := &fs.cache[at%cacheSize]
	if keep.block != at {
		data := make([]byte, blockSize)
		if err := fs.block(data, at); err != nil {
			return nil, err
		}
		*keep = cached{at, data}
	}
	n := &inode{number: number, raw: keep.data[offset%blockSize:][:fs.inodeSize]}
	if n.links() == 0 || n.mode() == 0 {
		return nil, damaged(n.String(), "a name leads to it, and it is not in use")
	}
	return n, nil
}
