package image

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// entryLength is what a directory's entry takes.
func entryLength(name string) int { return (8 + len(name) + 3) &^ 3 }

// dirBlocks is how many blocks a directory's entries take, as encodeDir packs them.
func (i *ext4Node) dirBlocks() int {
	blocks, room := 1, ext4Block-entryLength(".")-entryLength("..")
	for _, name := range i.names {
		if n := entryLength(name); n > room {
			blocks, room = blocks+1, ext4Block-n
		} else {
			room -= n
		}
	}
	return blocks
}

// encodeDir returns a directory's blocks. The last entry of a block reaches to its end.
func (i *ext4Node) encodeDir() []byte {
	out := make([]byte, 0, i.size)
	block := make([]byte, 0, ext4Block)
	last := 0
	end := func() {
		binary.LittleEndian.PutUint16(block[last+4:], uint16(ext4Block-last))
		out = append(out, block...)
		out = append(out, make([]byte, ext4Block-len(block))...)
		block = block[:0]
	}
	add := func(name string, to *listed) {
		n := entryLength(name)
		if len(block)+n > ext4Block {
			end()
		}
		last = len(block)
		block = append(block, make([]byte, n)...)
		e := block[last:]
		binary.LittleEndian.PutUint32(e, uint32(to.number))
		binary.LittleEndian.PutUint16(e[4:], uint16(n))
		e[6], e[7] = byte(len(name)), fileType(to.node.Mode)
		copy(e[8:], name)
	}
	add(".", i.listed)
	add("..", i.parent)
	for k, name := range i.names {
		add(name, i.kids[k])
	}
	end()
	return out
}

const (
	extentsFlag = 0x80000
	extentMagic = 0xf30a
)

func (i *ext4Node) encode(b []byte) {
	le := binary.LittleEndian
	n := i.node
	le.PutUint16(b[0:], uint16(n.Mode))
	le.PutUint16(b[2:], uint16(n.UID))
	le.PutUint32(b[4:], uint32(i.size))
	le.PutUint32(b[108:], uint32(i.size>>32))
	for _, at := range []int{8, 12, 16} {
		le.PutUint32(b[at:], uint32(n.MTime.Unix()))
	}
	le.PutUint16(b[24:], uint16(n.GID))
	le.PutUint16(b[26:], uint16(min(i.links, 65000)))
	if n.children != nil && i.links > 65000 {
		le.PutUint16(b[26:], 1) // more than can be counted
	}
	le.PutUint32(b[28:], (i.blocks+uint32(i.leaves))*(ext4Block/512))
	le.PutUint16(b[120:], uint16(n.UID>>16))
	le.PutUint16(b[122:], uint16(n.GID>>16))
	le.PutUint16(b[128:], 32) // extra size
	extra := uint32(n.MTime.Nanosecond())<<2 | uint32(n.MTime.Unix()>>32)&3
	for _, at := range []int{132, 136, 140} {
		le.PutUint32(b[at:], extra)
	}
	le.PutUint32(b[144:], uint32(n.MTime.Unix()))
	le.PutUint32(b[148:], extra)
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		major, minor := unix.Major(n.Device), unix.Minor(n.Device)
		if major < 256 && minor < 256 {
			le.PutUint32(b[40:], major<<8|minor)
		} else {
			le.PutUint32(b[44:], encodeDevice(n.Device))
		}
		return
	case unix.S_IFLNK:
		if i.blocks == 0 {
			copy(b[40:100], n.Target)
			return
		}
	case unix.S_IFIFO, unix.S_IFSOCK:
		return
	}
	le.PutUint32(b[32:], extentsFlag)
	i.encodeExtents(b[40:100])
}

// encodeExtents writes the root of an extent tree: the extents themselves, or their leaves.
func (i *ext4Node) encodeExtents(b []byte) {
	if i.leaves == 0 {
		encodeRuns(b, i.runs(), ext4ExtentsNode)
		return
	}
	le := binary.LittleEndian
	extentHeader(b, i.leaves, ext4ExtentsNode, 1)
	for k := range i.leaves {
		e := b[12+12*k:]
		le.PutUint32(e, uint32(k)*ext4ExtentsLeaf*ext4MaxExtent)
		le.PutUint32(e[4:], i.leaf+uint32(k))
	}
}

func (i *ext4Node) encodeLeaves() []byte {
	out := make([]byte, i.leaves*ext4Block)
	runs := i.runs()
	for k := range i.leaves {
		some := runs[k*ext4ExtentsLeaf : min((k+1)*ext4ExtentsLeaf, len(runs))]
		encodeRuns(out[k*ext4Block:], some, ext4ExtentsLeaf)
	}
	return out
}

func encodeRuns(b []byte, runs []extentRun, room int) {
	le := binary.LittleEndian
	extentHeader(b, len(runs), room, 0)
	for k, r := range runs {
		e := b[12+12*k:]
		le.PutUint32(e, r.logical)
		le.PutUint16(e[4:], uint16(r.count))
		le.PutUint32(e[8:], r.physical)
	}
}

func extentHeader(b []byte, entries, room, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
}
