package image

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A writer of ext4 file systems, for guests with kernels of their own. It takes what the writer of
// EROFS takes, so that both see the same files, and needs neither root, a mount nor a program of
// the host; equal trees result in equal file systems. What it makes is meant to be written to:
//
//	super block and group descriptors | block bitmaps | inode bitmaps | inode tables | contents | room
//
// The parts of all groups lie together (flex_bg), so that what is used is the beginning of the
// file system, and everything behind it is a hole of the file. There is no journal: a guest's disk
// is kept only while its guest stands still and has written everything, and what a guest that
// ended at any moment has left is not used again. Names follow the Linux kernel's documentation of
// the format.
//
// There is an inode for each block, four times as many as mke2fs makes for a disk of common size, so
// that files run out of room before they run out of inodes. Inodes that were never used take none: they
// are holes too, and the room that is asked for comes on top of them.
const (
	ext4Block       = 4096
	ext4Group       = 8 * ext4Block // blocks of a group
	ext4InodeSize   = 256
	ext4PerGroup    = ext4Group // inodes of a group
	ext4Table       = ext4PerGroup * ext4InodeSize / ext4Block
	ext4FirstInode  = 11
	ext4RootInode   = 2
	ext4DescSize    = 32
	ext4MaxExtent   = 32768 // blocks
	ext4ExtentsLeaf = (ext4Block - 12) / 12
	ext4ExtentsNode = 4
)

// Ext4Format changes when equal trees result in other file systems than before.
const Ext4Format = 2

// extentRun is a run of blocks.
type extentRun struct{ logical, physical, count uint32 }

type ext4Node struct {
	*listed
	data   []byte // blocks of a directory or a long link
	size   int64
	first  uint32 // of the contents' blocks, which are contiguous
	blocks uint32
	leaf   uint32 // the block of an extent tree, 0 for none
	leaves int
}

type ext4Layout struct {
	nodes  []*ext4Node // in the order of their numbers
	blocks uint32      // of the whole file system
	groups uint32
	used   uint32 // blocks from the beginning that are in use
	uuid   [16]byte
}

// WriteExt4 makes f a file system with the tree in it and at least free bytes of room, and returns
// its size in bytes. f must be empty.
func WriteExt4(f *os.File, t *Tree, free int64) (size int64, err error) {
	l := &ext4Layout{}
	for _, n := range withLostAndFound(t.list()) {
		l.nodes = append(l.nodes, &ext4Node{listed: n})
	}
	if err := l.place(free); err != nil {
		return 0, err
	}
	size = int64(l.blocks) * ext4Block
	if err := f.Truncate(size); err != nil {
		return 0, fmt.Errorf("make a file system: %w", err)
	}
	if err := l.write(f); err != nil {
		return 0, fmt.Errorf("write a file system: %w", err)
	}
	return size, nil
}

const lostAndFound = "lost+found"

// withLostAndFound adds the directory that every such file system has to the nodes of a tree.
func withLostAndFound(nodes []*listed) []*listed {
	root := nodes[0]
	for k, name := range root.names {
		if name == lostAndFound && root.kids[k].node.children != nil {
			return nodes
		}
	}
	made := &listed{node: NewDir(0o700), parent: root, links: 2}
	root.names, root.kids = append(root.names, lostAndFound), append(root.kids, made)
	root.links++
	return append(nodes, made)
}

// place numbers the inodes and gives everything its blocks.
func (l *ext4Layout) place(free int64) error {
	next := uint64(ext4FirstInode)
	sum := sha256.New()
	for k, i := range l.nodes {
		i.number = ext4RootInode
		if k > 0 {
			i.number = next
			next++
		}
		fmt.Fprintf(sum, "%d %o %d %d %s\n", i.number, i.node.Mode, i.node.Size, i.node.MTime.UnixNano(), i.names)
	}
	copy(l.uuid[:], sum.Sum(nil))
	l.uuid[6], l.uuid[8] = l.uuid[6]&0x0f|0x50, l.uuid[8]&0x3f|0x80
	var content uint32
	for _, i := range l.nodes {
		if err := i.measure(); err != nil {
			return err
		}
		content += i.blocks + uint32(i.leaves)
	}
	wanted := content + uint32((free+ext4Block-1)/ext4Block)
	l.groups = max(uint32((next-1+ext4PerGroup-1)/ext4PerGroup), 1)
	for {
		all := l.metaBlocks() + wanted
		if groups := (all + ext4Group - 1) / ext4Group; groups > l.groups {
			l.groups = groups
			continue
		}
		l.blocks = max(all, (l.groups-1)*ext4Group+1)
		break
	}
	at := l.metaBlocks()
	for _, i := range l.nodes {
		i.first = at
		at += i.blocks
		if i.leaves > 0 {
			i.leaf = at
			at += uint32(i.leaves)
		}
	}
	l.used = at
	return nil
}

// metaBlocks is what comes before the contents.
func (l *ext4Layout) metaBlocks() uint32 { return l.bitmaps() + l.groups*(2+ext4Table) }

// bitmaps is the first block after super block and descriptors.
func (l *ext4Layout) bitmaps() uint32 { return 1 + (l.groups*ext4DescSize+ext4Block-1)/ext4Block }

func (l *ext4Layout) blockBitmap(g uint32) uint32 { return l.bitmaps() + g }
func (l *ext4Layout) inodeBitmap(g uint32) uint32 { return l.bitmaps() + l.groups + g }
func (l *ext4Layout) inodeTable(g uint32) uint32  { return l.bitmaps() + 2*l.groups + g*ext4Table }

// measure says how many blocks a node's contents take.
func (i *ext4Node) measure() error {
	switch i.node.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		i.size = int64(i.dirBlocks()) * ext4Block
	case unix.S_IFREG:
		i.size = i.node.Size
	case unix.S_IFLNK:
		i.size = int64(len(i.node.Target))
		if i.size == 0 || i.size >= ext4Block {
			return fmt.Errorf("a symbolic link of %d bytes", i.size)
		}
		if i.size < 60 {
			return nil // in the inode
		}
		i.data = []byte(i.node.Target)
	default:
		return nil
	}
	if i.size > int64(ext4ExtentsNode*ext4ExtentsLeaf)*ext4MaxExtent*ext4Block {
		return fmt.Errorf("a file of %d bytes", i.size)
	}
	i.blocks = uint32((i.size + ext4Block - 1) / ext4Block)
	if extents := i.extents(); extents > ext4ExtentsNode {
		i.leaves = (extents + ext4ExtentsLeaf - 1) / ext4ExtentsLeaf
	}
	return nil
}

func (i *ext4Node) extents() int { return int((i.blocks + ext4MaxExtent - 1) / ext4MaxExtent) }

func (i *ext4Node) runs() (runs []extentRun) {
	for done := uint32(0); done < i.blocks; done += ext4MaxExtent {
		runs = append(runs, extentRun{done, i.first + done, min(i.blocks-done, ext4MaxExtent)})
	}
	return runs
}

func (l *ext4Layout) write(f *os.File) error {
	for _, i := range l.nodes {
		if i.node.children != nil {
			i.data = i.encodeDir()
		}
		if err := l.writeNode(f, i); err != nil {
			return err
		}
	}
	if err := l.writeBitmaps(f); err != nil {
		return err
	}
	head := make([]byte, l.bitmaps()*ext4Block)
	l.superblock(head[1024:])
	for g := range l.groups {
		l.descriptor(head[ext4Block+g*ext4DescSize:], g)
	}
	_, err := f.WriteAt(head, 0)
	return err
}

func (l *ext4Layout) writeNode(f *os.File, i *ext4Node) error {
	inode := make([]byte, ext4InodeSize)
	i.encode(inode)
	index := uint32(i.number - 1)
	at := int64(l.inodeTable(index/ext4PerGroup))*ext4Block + int64(index%ext4PerGroup)*ext4InodeSize
	if _, err := f.WriteAt(inode, at); err != nil {
		return err
	}
	if i.leaves > 0 {
		if _, err := f.WriteAt(i.encodeLeaves(), int64(i.leaf)*ext4Block); err != nil {
			return err
		}
	}
	to := int64(i.first) * ext4Block
	switch {
	case i.data != nil:
		_, err := f.WriteAt(i.data, to)
		return err
	case i.blocks == 0:
		return nil
	}
	return copyContent(io.NewOffsetWriter(f, to), i.node)
}

// writeBitmaps writes those of groups that have something in them, and of the last one, behind
// whose end there is nothing.
func (l *ext4Layout) writeBitmaps(f *os.File) error {
	inodes := l.usedInodes()
	for g := range l.groups {
		for _, b := range []struct{ at, used, size uint32 }{
			{l.blockBitmap(g), usedOf(l.used, g, ext4Group), l.groupBlocks(g)},
			{l.inodeBitmap(g), usedOf(inodes, g, ext4PerGroup), ext4PerGroup},
		} {
			if b.used == 0 && b.size == ext4Group {
				continue
			}
			bitmap := make([]byte, ext4Block)
			setBits(bitmap, 0, b.used)
			setBits(bitmap, b.size, ext4Group)
			if _, err := f.WriteAt(bitmap, int64(b.at)*ext4Block); err != nil {
				return err
			}
		}
	}
	return nil
}

func setBits(bitmap []byte, from, to uint32) {
	for ; from < to; from++ {
		bitmap[from/8] |= 1 << (from % 8)
	}
}

// usedOf is how many of a group's things are in use, if all in use are the first ones.
func usedOf(used, group, size uint32) uint32 {
	return min(max(used, group*size)-group*size, size)
}

func (l *ext4Layout) usedInodes() uint32 { return ext4FirstInode - 1 + uint32(len(l.nodes)) - 1 }

func (l *ext4Layout) groupBlocks(g uint32) uint32 { return min(l.blocks-g*ext4Group, ext4Group) }

// Flags of a group that nothing has been written to.
const (
	inodeUninit = 1
	blockUninit = 2
	tableZeroed = 4
)

func (l *ext4Layout) descriptor(d []byte, g uint32) {
	le := binary.LittleEndian
	blocks, inodes := usedOf(l.used, g, ext4Group), usedOf(l.usedInodes(), g, ext4PerGroup)
	dirs, flags := 0, uint16(tableZeroed)
	for _, i := range l.nodes {
		if i.node.children != nil && uint32(i.number-1)/ext4PerGroup == g {
			dirs++
		}
	}
	if inodes == 0 {
		flags |= inodeUninit
	}
	if blocks == 0 && l.groupBlocks(g) == ext4Group {
		flags |= blockUninit
	}
	le.PutUint32(d[0:], l.blockBitmap(g))
	le.PutUint32(d[4:], l.inodeBitmap(g))
	le.PutUint32(d[8:], l.inodeTable(g))
	le.PutUint16(d[12:], uint16(l.groupBlocks(g)-blocks))
	le.PutUint16(d[14:], uint16(ext4PerGroup-inodes))
	le.PutUint16(d[16:], uint16(dirs))
	le.PutUint16(d[18:], flags)
	le.PutUint16(d[28:], uint16(ext4PerGroup-inodes)) // at the end of the table
	sum := crc16(0xffff, l.uuid[:])
	sum = crc16(sum, le.AppendUint32(nil, g))
	le.PutUint16(d[30:], crc16(sum, d[:30]))
}

// crc16 is the checksum of group descriptors (polynomial 0x8005, reflected).
func crc16(sum uint16, data []byte) uint16 {
	for _, b := range data {
		sum ^= uint16(b)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// Features of the file system.
const (
	compatAttributes  = 0x8
	compatIndex       = 0x20
	compatSparse2     = 0x200
	incompatFiletype  = 0x2
	incompatExtents   = 0x40
	incompatFlexGroup = 0x200
	roSparse          = 0x1
	roLargeFile       = 0x2
	roHugeFile        = 0x8
	roGroupChecksum   = 0x10
	roManyLinks       = 0x20
	roExtraSize       = 0x40
)

func (l *ext4Layout) superblock(s []byte) {
	le := binary.LittleEndian
	le.PutUint32(s[0:], l.groups*ext4PerGroup)
	le.PutUint32(s[4:], l.blocks)
	le.PutUint32(s[12:], l.blocks-l.used)
	le.PutUint32(s[16:], l.groups*ext4PerGroup-l.usedInodes())
	le.PutUint32(s[24:], 2) // blocks of 1024 << 2 bytes
	le.PutUint32(s[28:], 2)
	le.PutUint32(s[32:], ext4Group)
	le.PutUint32(s[36:], ext4Group)
	le.PutUint32(s[40:], ext4PerGroup)
	le.PutUint32(s[48:], uint32(epoch.Unix()))
	le.PutUint16(s[54:], 0xffff) // no check after so many mounts
	le.PutUint16(s[56:], 0xef53)
	le.PutUint16(s[58:], 1) // clean
	le.PutUint16(s[60:], 1) // go on after errors
	le.PutUint32(s[64:], uint32(epoch.Unix()))
	le.PutUint32(s[76:], 1) // sizes of inodes vary
	le.PutUint32(s[84:], ext4FirstInode)
	le.PutUint16(s[88:], ext4InodeSize)
	le.PutUint32(s[92:], compatAttributes|compatIndex|compatSparse2)
	le.PutUint32(s[96:], incompatFiletype|incompatExtents|incompatFlexGroup)
	le.PutUint32(s[100:], roSparse|roLargeFile|roHugeFile|roGroupChecksum|roManyLinks|roExtraSize)
	copy(s[104:], l.uuid[:])
	copy(s[120:], "shoal")
	hash := sha256.Sum256(l.uuid[:])
	copy(s[236:252], hash[:]) // seed of the directories' hashes
	s[252] = 1                // which are half MD4
	le.PutUint16(s[254:], ext4DescSize)
	le.PutUint32(s[264:], uint32(epoch.Unix()))
	le.PutUint16(s[348:], 32) // least extra size of inodes
	le.PutUint16(s[350:], 32)
	le.PutUint32(s[352:], 1) // signed characters in hashes
	s[372] = 4               // log2 of the groups whose parts lie together
}
