package image

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// FromImages describes what images show on top of each other, lowest first, as a guest sees them:
// whiteouts hide what is below. The contents of files stay in the images.
func FromImages(paths ...string) (*Tree, error) {
	t := NewTree()
	for _, path := range paths {
		r, err := openReader(path)
		if err != nil {
			return nil, err
		}
		err = r.mergeInto(t, path)
		r.close()
		if err != nil {
			return nil, fmt.Errorf("read the image %s: %w", path, err)
		}
	}
	return t, nil
}

// mergeInto puts an image on top of a tree.
func (r *reader) mergeInto(t *Tree, path string) error {
	m := merger{reader: r, path: path, seen: map[uint64]*Node{}}
	root, err := m.node(r.root)
	if err != nil {
		return err
	}
	root.children = t.root.children
	t.root = root
	return m.merge(root, r.root, 0)
}

// maxDepth bounds directories in one another: an image of ours has no loops, a damaged one might.
const maxDepth = 512

type merger struct {
	*reader
	path string
	seen map[uint64]*Node // files with several names are one node
}

// merge adds the entries of the image's directory nid to dir, and in the end their own.
func (m merger) merge(dir *Node, nid uint64, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("directories are deeper than %d", maxDepth)
	}
	entries, err := m.entries(nid)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := m.node(e.nid)
		if err != nil {
			return err
		}
		if n.isWhiteout() {
			delete(dir.children, e.name)
			continue
		}
		if n.children != nil {
			if below := dir.children[e.name]; below != nil && below.children != nil {
				n.children = below.children
			}
			if err := m.merge(n, e.nid, depth+1); err != nil {
				return err
			}
		}
		dir.children[e.name] = n
	}
	return nil
}

// node describes an inode. A directory has no children yet.
func (m merger) node(nid uint64) (*Node, error) {
	if n := m.seen[nid]; n != nil {
		return n, nil
	}
	b := make([]byte, inodeSize)
	at := blockSize + int64(nid)*slotSize
	if _, err := m.f.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("read inode %d: %w", nid, err)
	}
	le := binary.LittleEndian
	n := &Node{Mode: uint32(le.Uint16(b[4:])), UID: le.Uint32(b[24:]), GID: le.Uint32(b[28:]),
		MTime: time.Unix(int64(le.Uint64(b[32:])), int64(le.Uint32(b[40:])))}
	size, block := int64(le.Uint64(b[8:])), le.Uint32(b[16:])
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.children = map[string]*Node{}
		return n, nil
	case unix.S_IFREG:
		n.Path, n.Offset, n.Size = m.path, int64(block)*blockSize, size
	case unix.S_IFLNK:
		from := int64(block) * blockSize
		if le.Uint16(b)&dataInline != 0 {
			from = at + inodeSize
		}
		target := make([]byte, min(size, unix.PathMax))
		if _, err := m.f.ReadAt(target, from); err != nil {
			return nil, fmt.Errorf("read link %d: %w", nid, err)
		}
		n.Target = string(target)
	case unix.S_IFCHR, unix.S_IFBLK:
		n.Device = decodeDevice(block)
	}
	m.seen[nid] = n
	return n, nil
}

// decodeDevice is the reverse of encodeDevice.
func decodeDevice(dev uint32) uint64 { return unix.Mkdev(dev>>8&0xfff, dev&0xff|dev>>12&^0xff) }
