package ext4

import (
	"encoding/binary"
	"errors"
)

// run is blocks of a file that follow each other in the file and on the disk. Unwritten ones read as zeros.
type run struct {
	logical, physical, count uint64
	unwritten                bool
}

const (
	extentMagic = 0xf30a
	extentSize  = 12
	maxDepth    = 5 // of an extent tree
	// A longer extent is that much shorter, and unwritten.
	longestExtent = 32768
)

// errEnough ends the reading of a file's runs.
var errEnough = errors.New("enough was read")

// runs calls do with a file's runs in their order, until it fails. They do not overlap, and are in the file
// system.
func (fs *FS) runs(n *inode, do func(run) error) error {
	if err := n.supported(); err != nil {
		return err
	}
	w := &runWalk{fs: fs, inode: n, do: do}
	var err error
	if n.flags()&flagExtents == 0 {
		err = w.pointers()
	} else {
		err = w.extents(n.pointers(), -1)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

type runWalk struct {
	fs    *FS
	inode *inode
	do    func(run) error
	next  uint64 // the first block of the file that may come
}

// give checks a run, and passes it on.
func (w *runWalk) give(r run) error {
	const last = 1 << 32 // blocks of a file
	if r.logical < w.next || r.logical+r.count > last {
		return damaged(w.inode.String(), "blocks %d to %d of the file are out of order", r.logical, r.logical+r.count)
	}
	if r.physical == 0 || r.physical+r.count > w.fs.blocks {
		return damaged(w.inode.String(), "blocks %d to %d are not in the file system", r.physical, r.physical+r.count)
	}
	w.next = r.logical + r.count
	return w.do(r)
}

// extents goes through a node of a tree. depth is what the node is to have, -1 for a root.
func (w *runWalk) extents(node []byte, depth int) error {
	le := binary.LittleEndian
	entries, room, has := int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
	root := depth < 0
	if root {
		depth = has
	}
	if le.Uint16(node) != extentMagic || has != depth || depth > maxDepth || entries > room ||
		room > len(node)/extentSize-1 || entries == 0 && (!root || depth > 0) {
		return damaged(w.inode.String(), "a damaged tree of extents")
	}
	var child []byte
	for k := range entries {
		e := node[extentSize*(k+1):][:extentSize]
		if depth == 0 {
			r := run{logical: uint64(le.Uint32(e)), count: uint64(le.Uint16(e[4:])),
				physical: uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32}
			if r.count > longestExtent {
				r.count, r.unwritten = r.count-longestExtent, true
			}
			if r.count == 0 {
				return damaged(w.inode.String(), "an extent without blocks")
			}
			if err := w.give(r); err != nil {
				return err
			}
			continue
		}
		if child == nil {
			child = make([]byte, blockSize)
		}
		if err := w.fs.treeBlock(child, uint64(le.Uint32(e[4:]))|uint64(le.Uint16(e[8:]))<<32); err != nil {
			return err
		}
		if err := w.extents(child, depth-1); err != nil {
			return err
		}
	}
	return nil
}

const (
	directBlocks = 12
	pointerSize  = 4
	perBlock     = blockSize / pointerSize // pointers
)

// pointers goes through the older form: pointers to the first blocks, then to blocks of pointers, to blocks
// of these, and once more.
func (w *runWalk) pointers() error {
	p := w.inode.pointers()
	if err := w.list(p[:directBlocks*pointerSize], 0, 0); err != nil {
		return err
	}
	logical, each := uint64(directBlocks), uint64(1)
	for level := 1; level <= 3; level++ {
		at := (directBlocks + level - 1) * pointerSize
		if err := w.list(p[at:at+pointerSize], logical, level); err != nil {
			return err
		}
		each *= perBlock
		logical += each
	}
	return nil
}

// list goes through pointers of a level; those of level 0 point to blocks of the file.
func (w *runWalk) list(pointers []byte, logical uint64, level int) error {
	each := uint64(1)
	for range level {
		each *= perBlock
	}
	var block []byte
	for ; len(pointers) > 0; pointers = pointers[pointerSize:] {
		at := uint64(binary.LittleEndian.Uint32(pointers))
		switch {
		case at == 0: // a hole
		case level == 0:
			if err := w.give(run{logical: logical, physical: at, count: 1}); err != nil {
				return err
			}
		default:
			if block == nil {
				block = make([]byte, blockSize)
			}
			if err := w.fs.treeBlock(block, at); err != nil {
				return err
			}
			if err := w.list(block, logical, level-1); err != nil {
				return err
			}
		}
		logical += each
	}
	return nil
}

// pieceBlocks is how much of a file is read at once.
const pieceBlocks = 64

// content calls do with what of a file is not zeros, in its order: pieces of at most 256 KiB, which are do's
// only until it returns. Together they are not more than the file system has.
func (fs *FS) content(n *inode, do func(p []byte, at int64) error) error {
	size := n.size()
	var buffer []byte
	return fs.runs(n, func(r run) error {
		if r.logical*blockSize >= size {
			return errEnough // room that was set aside
		}
		if r.unwritten {
			return nil
		}
		r.count = min(r.count, (size+blockSize-1)/blockSize-r.logical)
		if fs.dataBlocks -= int64(r.count); fs.dataBlocks < 0 {
			return damaged(n.String(), "files have blocks in common")
		}
		if buffer == nil {
			buffer = make([]byte, min(r.count, pieceBlocks)*blockSize)
		}
		if uint64(len(buffer)) < min(r.count, pieceBlocks)*blockSize {
			buffer = make([]byte, pieceBlocks*blockSize)
		}
		for r.count > 0 {
			blocks := min(r.count, uint64(len(buffer)/blockSize))
			p := buffer[:blocks*blockSize]
			if err := fs.block(p, r.physical); err != nil {
				return err
			}
			at := r.logical * blockSize
			if err := withoutZeros(p[:min(uint64(len(p)), size-at)], int64(at), do); err != nil {
				return err
			}
			r.logical, r.physical, r.count = r.logical+blocks, r.physical+blocks, r.count-blocks
		}
		return nil
	})
}

// withoutZeros calls do with the parts of p that have blocks other than zeros.
func withoutZeros(p []byte, at int64, do func(p []byte, at int64) error) error {
	for begin := 0; begin < len(p); {
		end := begin
		for end < len(p) && !isZero(p[end:min(end+blockSize, len(p))]) {
			end = min(end+blockSize, len(p))
		}
		if end > begin {
			if err := do(p[begin:end], at+int64(begin)); err != nil {
				return err
			}
			begin = end
			continue
		}
		begin += blockSize
	}
	return nil
}

func isZero(p []byte) bool {
	for len(p) >= 8 {
		if binary.NativeEndian.Uint64(p) != 0 {
			return false
		}
		p = p[8:]
	}
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
