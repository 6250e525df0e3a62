package image

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reader looks up names in an image that this package has written.
type reader struct {
	f    *os.File
	root uint64
}

const (
	kindDir  = 2 // the type of a directory's entry, see fileType
	kindChar = 3
)

type dirEntry struct {
	name     string
	nid      uint64
	kind     byte
	whiteout bool
}

func openReader(path string) (*reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	sb := make([]byte, 128)
	if _, err := f.ReadAt(sb, superblockOffset); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is not a root image: %w", path, err)
	}
	if binary.LittleEndian.Uint32(sb) != superblockMagic {
		f.Close()
		return nil, fmt.Errorf("%s is not a root image: it has another magic number", path)
	}
	return &reader{f: f, root: uint64(binary.LittleEndian.Uint16(sb[14:]))}, nil
}

func (r *reader) close() { r.f.Close() }

// readInode returns the mode, the size, and the first block or the device number.
func (r *reader) readInode(nid uint64) (mode uint32, size int64, block uint32, err error) {
	b := make([]byte, inodeSize)
	if _, err := r.f.ReadAt(b, blockSize+int64(nid)*slotSize); err != nil {
		return 0, 0, 0, fmt.Errorf("read inode %d: %w", nid, err)
	}
	le := binary.LittleEndian
	return uint32(le.Uint16(b[4:])), int64(le.Uint64(b[8:])), le.Uint32(b[16:]), nil
}

// list returns the entries of the directory at a path. ends reports that the path, or a
// part of it, exists but is not a directory.
func (r *reader) list(path []string) (entries []dirEntry, ends bool, err error) {
	nid := r.root
	for _, part := range path {
		if part == "" {
			continue
		}
		entries, err := r.entries(nid)
		if err != nil {
			return nil, false, err
		}
		found := false
		for _, e := range entries {
			if e.name == part {
				if e.kind != kindDir {
					return nil, true, nil
				}
				nid, found = e.nid, true
			}
		}
		if !found {
			return nil, false, nil
		}
	}
	entries, err = r.entries(nid)
	for i, e := range entries {
		if e.kind == kindChar && err == nil {
			_, _, device, inodeErr := r.readInode(e.nid)
			entries[i].whiteout, err = device == 0, inodeErr
		}
	}
	return entries, false, err
}

// entries reads a directory, without "." and "..".
func (r *reader) entries(nid uint64) ([]dirEntry, error) {
	mode, size, block, err := r.readInode(nid)
	if err != nil {
		return nil, err
	}
	if mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, fmt.Errorf("inode %d is no directory", nid)
	}
	data := make([]byte, size)
	if _, err := r.f.ReadAt(data, int64(block)*blockSize); err != nil {
		return nil, fmt.Errorf("read directory %d: %w", nid, err)
	}
	var list []dirEntry
	for len(data) > 0 {
		part := data[:min(len(data), blockSize)]
		data = data[len(part):]
		entries, err := parseBlock(part)
		if err != nil {
			return nil, fmt.Errorf("directory %d: %w", nid, err)
		}
		list = append(list, entries...)
	}
	return list, nil
}

func parseBlock(b []byte) ([]dirEntry, error) {
	le := binary.LittleEndian
	if len(b) < direntSize {
		return nil, fmt.Errorf("a block of %d bytes", len(b))
	}
	count := int(le.Uint16(b[8:])) / direntSize
	var list []dirEntry
	for k := range count {
		at := b[k*direntSize:]
		from, to := int(le.Uint16(at[8:])), len(b)
		if k+1 < count {
			to = int(le.Uint16(b[(k+1)*direntSize+8:]))
		}
		if from > to || to > len(b) {
			return nil, fmt.Errorf("entry %d is damaged", k)
		}
		name := b[from:to]
		if k+1 == count {
			for len(name) > 0 && name[len(name)-1] == 0 { // padding
				name = name[:len(name)-1]
			}
		}
		if s := string(name); s != "." && s != ".." {
			list = append(list, dirEntry{name: s, nid: le.Uint64(at), kind: at[10]})
		}
	}
	return list, nil
}
