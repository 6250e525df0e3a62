package block

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
)

// Layer is a file of blocks that does not change any more: what a capture kept. Disks and other
// layers may stand on it.
type Layer struct {
	store
	size int64
}

var _ Backing = (*Layer)(nil)

// OpenLayer opens what Capture or Merge wrote, and checks its map; blocks are checked when they are read.
func OpenLayer(path string, below Backing) (*Layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open a layer of a disk: %w", err)
	}
	l := &Layer{store: store{file: osFile{f}, name: path, below: below}}
	if err := l.load(); err != nil {
		f.Close()
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case l.head.flags&flagSealed == 0:
		err = fmt.Errorf("%s is an overlay, and no layer", path)
	case info.Size() != l.head.data()+l.head.size:
		err = &DamageError{File: path, Block: -1, What: "it is not as long as it was"}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	l.size = l.head.size
	return l, nil
}

// ReadAt is Backing's.
func (l *Layer) ReadAt(p []byte, off int64) (int, error) {
	inside := min(max(l.size-off, 0), int64(len(p)))
	clear(p[inside:])
	if inside == 0 {
		return len(p), nil
	}
	if off%Size == 0 && inside%Size == 0 {
		if err := l.read(p[:inside], off/Size); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	first, end := off/Size, (off+inside+Size-1)/Size
	blocks := make([]byte, (end-first)*Size)
	if err := l.read(blocks, first); err != nil {
		return 0, err
	}
	copy(p[:inside], blocks[off-first*Size:])
	return len(p), nil
}

// Size is Backing's.
func (l *Layer) Size() int64 { return l.size }

// Name is the layer's ID, in hexadecimal digits.
func (l *Layer) Name() string { return hex.EncodeToString(l.head.id[:]) }

// Below names what the layer stands on.
func (l *Layer) Below() string { return l.head.below }

// Zeros is Backing's.
func (l *Layer) Zeros(off, length int64) bool {
	first, end := off/Size, min((off+length+Size-1)/Size, l.head.blocks())
	for first < end {
		is, n := l.run(first, end-first)
		if is != zero && (is != below || !l.below.Zeros(first*Size, n*Size)) {
			return false
		}
		first += n
	}
	return true
}

// Kept is how many bytes the layer keeps, and how many of the disk are zeros by it.
func (l *Layer) Kept() (bytes, zeros int64) {
	for _, e := range l.entries {
		switch e.state() {
		case kept:
			bytes += Size
		case zero:
			zeros += Size
		}
	}
	return bytes, zeros
}

// Verify reads all that the layer keeps, and returns the first damage.
func (l *Layer) Verify() error {
	p := make([]byte, pieceSize)
	return pieces(0, l.size, func(off, length int64) error {
		first, left := off/Size, length/Size
		for left > 0 {
			is, n := l.run(first, left)
			if is == kept {
				if err := l.readKept(p[:n*Size], first); err != nil {
					return err
				}
			}
			first, left = first+n, left-n
		}
		return nil
	})
}

// Close ends reading.
func (l *Layer) Close() error { return l.file.Close() }

// LayerName reads from the file of a layer what it is called, and what it stands on.
func LayerName(path string) (name, below string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", fmt.Errorf("open a layer of a disk: %w", err)
	}
	defer f.Close()
	p := make([]byte, headerSize)
	if _, err := (osFile{f}).ReadAt(p, 0); err != nil {
		return "", "", fmt.Errorf("read the header of %s: %w", path, err)
	}
	head, what := decodeHeader(p)
	if what == "" && head.flags&flagSealed == 0 {
		what = "it is an overlay, and no layer"
	}
	if what != "" {
		return "", "", &DamageError{File: path, Block: -1, What: what}
	}
	return hex.EncodeToString(head.id[:]), head.below, nil
}

var errNotLayered = errors.New("the layers do not stand on each other")
