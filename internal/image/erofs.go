package image

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The subset of EROFS that gVisor's reader supports: blocks of 4096 bytes, no compression,
// extended inodes without attributes, file contents in whole blocks. Names follow the Linux
// kernel's documentation of the format.
const (
	blockSize        = 4096
	superblockOffset = 1024
	superblockMagic  = 0xE0F5E1E2
	inodeSize        = 64
	slotSize         = 32 // an inode's number is its offset in these
	direntSize       = 12

	layoutExtended = 1
	dataPlain      = 0 << 1
	dataInline     = 2 << 1
)

// inode is a node with its place in the image.
type inode struct {
	*listed
	count  uint32 // from 1
	inline []byte // data after the inode, for symbolic links
	data   []byte // a directory's blocks
	size   int64
	block  uint32 // of the first data block
}

// layout is the plan of an image.
type layout struct {
	inodes    []*inode // the root first: the superblock has only 16 bits for its number
	metaEnd   int64    // bytes of the inode area
	blocks    uint32
	firstData uint32
}

// writeErofs writes t to w and returns the SHA-256 of what it wrote, in hex, and the number
// of bytes. Equal trees result in equal images.
func writeErofs(w io.Writer, t *Tree) (digest string, size int64, err error) {
	l := &layout{}
	for k, n := range t.list() {
		l.inodes = append(l.inodes, &inode{listed: n, count: uint32(k + 1)})
	}
	l.place()
	for _, i := range l.inodes {
		if i.node.children != nil {
			i.data = direntBlocks(i.listed)
		}
	}
	l.placeData()

	hash := sha256.New()
	out := &countingWriter{w: bufio.NewWriterSize(io.MultiWriter(w, hash), 1<<20)}
	if err := l.write(out); err != nil {
		return "", 0, err
	}
	if err := out.w.Flush(); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), out.n, nil
}

type countingWriter struct {
	w *bufio.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// place assigns inode numbers. Inline data must not cross a block boundary.
func (l *layout) place() {
	var offset int64
	for _, i := range l.inodes {
		if i.node.Mode&unix.S_IFMT == unix.S_IFLNK && len(i.node.Target) <= blockSize-inodeSize &&
			i.node.Target != "" {
			i.inline = []byte(i.node.Target)
		}
		room := int64(inodeSize + len(i.inline))
		if offset%blockSize+room > blockSize {
			offset = roundUp(offset, blockSize)
		}
		i.number = uint64(offset / slotSize)
		offset = roundUp(offset+room, slotSize)
	}
	l.metaEnd = offset
}

// placeData assigns blocks to directories and then to files, after the superblock and the
// inodes.
func (l *layout) placeData() {
	next := uint32(1 + roundUp(l.metaEnd, blockSize)/blockSize)
	l.firstData = next
	take := func(i *inode, size int64) {
		i.size = size
		if blocks := uint32(roundUp(size, blockSize) / blockSize); blocks > 0 {
			i.block = next
			next += blocks
		}
	}
	for _, i := range l.inodes {
		switch {
		case i.data != nil:
			take(i, int64(len(i.data)))
		case i.inline != nil:
			i.size = int64(len(i.inline))
		case i.node.Mode&unix.S_IFMT == unix.S_IFLNK:
			i.data = []byte(i.node.Target)
			take(i, int64(len(i.data)))
		}
	}
	for _, i := range l.inodes {
		if i.node.Mode&unix.S_IFMT == unix.S_IFREG {
			take(i, i.node.Size)
		}
	}
	l.blocks = next
}

// direntBlocks encodes a directory: in each block first the entries, then their names.
// Entries, including "." and "..", are sorted by the bytes of their names.
func direntBlocks(dir *listed) []byte {
	type entry struct {
		name string
		to   *listed
	}
	entries := make([]entry, 0, len(dir.names)+2)
	add := func(name string, to *listed) {
		at := len(entries)
		for at > 0 && entries[at-1].name > name {
			at--
		}
		entries = append(entries, entry{})
		copy(entries[at+1:], entries[at:])
		entries[at] = entry{name, to}
	}
	for k, name := range dir.names {
		entries = append(entries, entry{name, dir.kids[k]})
	}
	add(".", dir)
	add("..", dir.parent)

	var out bytes.Buffer
	for len(entries) > 0 {
		count, used := 0, 0
		for count < len(entries) && used+direntSize+len(entries[count].name) <= blockSize {
			used += direntSize + len(entries[count].name)
			count++
		}
		if out.Len() > 0 { // the previous block ends where this one starts
			out.Write(make([]byte, roundUp(int64(out.Len()), blockSize)-int64(out.Len())))
		}
		var names []byte
		for _, e := range entries[:count] {
			record := make([]byte, direntSize)
			binary.LittleEndian.PutUint64(record, e.to.number)
			binary.LittleEndian.PutUint16(record[8:], uint16(count*direntSize+len(names)))
			record[10] = fileType(e.to.node.Mode)
			out.Write(record)
			names = append(names, e.name...)
		}
		out.Write(names)
		entries = entries[count:]
	}
	return out.Bytes()
}

func fileType(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFSOCK:
		return 6
	default:
		return 7 // symbolic link
	}
}

func (l *layout) write(out *countingWriter) error {
	if _, err := out.Write(l.superblock()); err != nil {
		return err
	}
	for _, i := range l.inodes {
		if err := pad(out, blockSize+int64(i.number)*slotSize); err != nil {
			return err
		}
		if _, err := out.Write(append(i.encode(), i.inline...)); err != nil {
			return err
		}
	}
	for _, i := range l.inodes {
		if i.data == nil {
			continue
		}
		if err := pad(out, int64(i.block)*blockSize); err != nil {
			return err
		}
		if _, err := out.Write(i.data); err != nil {
			return err
		}
	}
	for _, i := range l.inodes {
		if i.node.Mode&unix.S_IFMT != unix.S_IFREG || i.size == 0 {
			continue
		}
		if err := pad(out, int64(i.block)*blockSize); err != nil {
			return err
		}
		if err := copyContent(out, i.node); err != nil {
			return err
		}
	}
	return pad(out, int64(l.blocks)*blockSize)
}

func (l *layout) superblock() []byte {
	block := make([]byte, blockSize)
	sb := block[superblockOffset:]
	le := binary.LittleEndian
	le.PutUint32(sb[0:], superblockMagic)
	sb[12] = 12 // log2 of the block size
	le.PutUint16(sb[14:], uint16(l.inodes[0].number))
	le.PutUint64(sb[16:], uint64(len(l.inodes)))
	le.PutUint64(sb[24:], uint64(epoch.Unix()))
	le.PutUint32(sb[36:], l.blocks)
	le.PutUint32(sb[40:], 1) // block of the inode area
	return block
}

func (i *inode) encode() []byte {
	b := make([]byte, inodeSize)
	le := binary.LittleEndian
	format := uint16(layoutExtended | dataPlain)
	if i.inline != nil {
		format = layoutExtended | dataInline
	}
	le.PutUint16(b[0:], format)
	le.PutUint16(b[4:], uint16(i.node.Mode))
	le.PutUint64(b[8:], uint64(i.size))
	le.PutUint32(b[16:], i.block)
	switch i.node.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		le.PutUint32(b[16:], encodeDevice(i.node.Device))
	}
	le.PutUint32(b[20:], i.count)
	le.PutUint32(b[24:], i.node.UID)
	le.PutUint32(b[28:], i.node.GID)
	le.PutUint64(b[32:], uint64(i.node.MTime.Unix()))
	le.PutUint32(b[40:], uint32(i.node.MTime.Nanosecond()))
	le.PutUint32(b[44:], i.links)
	return b
}

// encodeDevice packs a device number like the Linux kernel's new_encode_dev.
func encodeDevice(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

func copyContent(out io.Writer, n *Node) error {
	if n.Path == "" {
		_, err := out.Write(n.Data)
		return err
	}
	f, err := os.Open(n.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	copied, err := io.Copy(out, io.NewSectionReader(f, n.Offset, n.Size))
	if err == nil && copied != n.Size {
		err = fmt.Errorf("%s shrank while it was read", n.Path)
	}
	return err
}

var zeroes [blockSize]byte

// pad writes zeros up to an offset.
func pad(out *countingWriter, to int64) error {
	if out.n > to {
		return fmt.Errorf("image layout: at %d, behind %d", out.n, to)
	}
	for out.n < to {
		if _, err := out.Write(zeroes[:min(to-out.n, blockSize)]); err != nil {
			return err
		}
	}
	return nil
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
