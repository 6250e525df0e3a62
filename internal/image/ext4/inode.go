package ext4

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// inode is one file of any kind. raw is shared by all who read it.
type inode struct {
	number uint32
	raw    []byte
}

// Flags of an inode.
const (
	flagExtents     = 0x80000
	flagEncrypted   = 0x800
	flagLargeValues = 0x200000   // of attributes, in inodes of their own
	flagInline      = 0x10000000 // the content is in the inode
	unsupported     = flagEncrypted | flagLargeValues | flagInline
)

const oldInodeSize = 128 // what comes after it is there if the inode says so

func (n *inode) String() string { return fmt.Sprintf("inode %d", n.number) }

func (n *inode) half(at int) uint32 { return uint32(binary.LittleEndian.Uint16(n.raw[at:])) }
func (n *inode) word(at int) uint32 { return binary.LittleEndian.Uint32(n.raw[at:]) }

func (n *inode) mode() uint32  { return n.half(0) }
func (n *inode) kind() uint32  { return n.mode() & unix.S_IFMT }
func (n *inode) isDir() bool   { return n.kind() == unix.S_IFDIR }
func (n *inode) uid() uint32   { return n.half(2) | n.half(120)<<16 }
func (n *inode) gid() uint32   { return n.half(24) | n.half(122)<<16 }
func (n *inode) links() uint32 { return n.half(26) }
func (n *inode) flags() uint32 { return n.word(32) }

// attributeBlock is the block of extended attributes that do not fit into the inode, 0 for none.
func (n *inode) attributeBlock() uint64 { return uint64(n.word(104)) | uint64(n.half(118))<<32 }

// pointers is where the content is, or a short link's target, or a device's number.
func (n *inode) pointers() []byte { return n.raw[40:100] }

// size is the content's, in bytes. It may be anything.
func (n *inode) size() uint64 {
	size := uint64(n.word(4))
	if n.kind() == unix.S_IFREG {
		size |= uint64(n.word(108)) << 32
	}
	return size
}

// extra is how much of the inode after its first 128 bytes is in use.
func (n *inode) extra() int {
	if len(n.raw) < oldInodeSize+4 {
		return 0
	}
	if extra := int(n.half(oldInodeSize)); extra%4 == 0 && extra <= len(n.raw)-oldInodeSize {
		return extra
	}
	return 0
}

// mtime has two more bits of seconds, and nanoseconds, in the inode's second part.
func (n *inode) mtime() time.Time {
	seconds, nanoseconds := int64(int32(n.word(16))), int64(0)
	const at = 136
	if n.extra() >= at+4-oldInodeSize {
		extra := n.word(at)
		seconds += int64(extra&3) << 32
		nanoseconds = min(int64(extra>>2), 999_999_999)
	}
	return time.Unix(seconds, nanoseconds)
}

// device is the number of a device, in the older or the newer of two forms.
func (n *inode) device() (major, minor uint32) {
	if old := n.word(40); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := n.word(44)
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

// passing are the parts of an inode that change without the file: when it was read, counts for servers of
// files, the sum over all.
var passing = []struct{ from, to int }{{8, 12}, {36, 40}, {124, 126}, {130, 132}, {140, 144}, {152, 156}}

// same reports whether a file is what it was. Whatever is changed of a file changes the time of its last
// change, which no program can set.
func (n *inode) same(was *inode) bool {
	if n.number != was.number || len(n.raw) != len(was.raw) {
		return false
	}
	at := 0
	for _, p := range passing {
		if p.from >= len(n.raw) {
			break
		}
		if string(n.raw[at:p.from]) != string(was.raw[at:p.from]) {
			return false
		}
		at = p.to
	}
	return string(n.raw[at:]) == string(was.raw[at:])
}

// supported is an error for an inode whose content is kept in a way that is not read.
func (n *inode) supported() error {
	if more := n.flags() & unsupported; more != 0 {
		return damaged(n.String(), "flags %#x are not supported", more)
	}
	return nil
}

// target reads a symbolic link.
func (fs *FS) target(n *inode) (string, error) {
	size := n.size()
	if size == 0 || size >= blockSize {
		return "", damaged(n.String(), "a symbolic link of %d bytes", size)
	}
	if size < 60 {
		return string(n.pointers()[:size]), nil
	}
	p := make([]byte, blockSize)
	err := fs.runs(n, func(r run) error {
		if r.logical != 0 || r.unwritten {
			return damaged(n.String(), "a symbolic link with a hole")
		}
		return fs.treeBlock(p, r.physical)
	})
	return string(p[:size]), err
}
