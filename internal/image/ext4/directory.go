package ext4

import (
	"encoding/binary"
	"slices"
	"strings"
)

// entry is a name in a directory.
type entry struct {
	name  string
	inode uint32
}

// maxName is the longest name, in bytes.
const maxName = 255

// entries reads a directory, without "." and "..", sorted by name. A hashed directory is one whose index
// looks like unused room, so there is nothing to tell it by.
func (fs *FS) entries(n *inode) ([]entry, error) {
	size := n.size()
	if size%blockSize != 0 || size/blockSize > fs.blocks {
		return nil, damaged(n.String(), "a directory of %d bytes", size)
	}
	var list []entry
	p := make([]byte, blockSize)
	next := uint64(0)
	err := fs.runs(n, func(r run) error {
		if r.logical != next || r.unwritten {
			return damaged(n.String(), "a directory with a hole")
		}
		for k := uint64(0); k < r.count && next*blockSize < size; k++ {
			if err := fs.treeBlock(p, r.physical+k); err != nil {
				return err
			}
			var err error
			if list, err = fs.parse(list, p, n); err != nil {
				return err
			}
			next++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if next*blockSize < size {
		return nil, damaged(n.String(), "a directory that ends too early")
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	for k := 1; k < len(list); k++ {
		if list[k].name == list[k-1].name {
			return nil, damaged(n.String(), "the name %q is there twice", list[k].name)
		}
	}
	return list, nil
}

const entryHead = 8 // bytes before a name

// parse adds the entries of a block to a list.
func (fs *FS) parse(list []entry, block []byte, dir *inode) ([]entry, error) {
	le := binary.LittleEndian
	for len(block) > 0 {
		if len(block) < entryHead {
			return nil, damaged(dir.String(), "a damaged entry")
		}
		inode, length, size := le.Uint32(block), int(le.Uint16(block[4:])), int(block[6])
		if length < entryHead || length%4 != 0 || length > len(block) || entryHead+size > length {
			return nil, damaged(dir.String(), "a damaged entry")
		}
		name := string(block[entryHead : entryHead+size])
		block = block[length:]
		if inode == 0 || name == "." || name == ".." {
			continue
		}
		if name == "" || size > maxName || strings.ContainsAny(name, "/\x00") {
			return nil, damaged(dir.String(), "%q is no name of a file", name)
		}
		if fs.entriesLeft--; fs.entriesLeft < 0 {
			return nil, damaged("the disk", "it has more names than files and hard links can have")
		}
		list = append(list, entry{name, inode})
	}
	return list, nil
}
