package block

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mark is a time in a disk's life from which a later capture may go on. It can be kept as JSON.
type Mark struct {
	Epoch uint32 `json:"epoch"`
	Layer string `json:"layer"` // name of the layer that the capture made
	Disk  string `json:"disk"`  // the overlay's ID
}

// Captured is what a capture has made.
type Captured struct {
	Mark   Mark
	Blocks int64 // that the layer keeps
	Zeros  int64 // blocks that are zeros by it
	Shared int64 // of Blocks, those that share their room with the overlay, by the file system
}

// ErrMark means that a mark is none of this disk.
var ErrMark = errors.New("the mark is of another disk")

// Capture writes a layer to an empty file: the blocks that have changed since a mark, or all that the
// overlay keeps if since is nil. The layer stands on that of the mark, or on what the disk stands on.
// Changes wait meanwhile, reads do not. The file is durable when Capture returns; it shares the room of
// the overlay's blocks where the file system can.
func (d *Disk) Capture(ctx context.Context, to *os.File, since *Mark) (Captured, error) {
	if err := d.usable(0, 0); err != nil {
		return Captured{}, err
	}
	id := hex.EncodeToString(d.head.id[:])
	if since != nil && since.Disk != id {
		return Captured{}, fmt.Errorf("%w: it is of %q, this is %q", ErrMark, since.Disk, id)
	}
	if err := d.Flush(); err != nil {
		return Captured{}, err
	}
	d.gate.Lock()
	defer d.gate.Unlock()
	if d.head.epoch == maxEpoch {
		return Captured{}, fmt.Errorf("%s was captured %d times, which is as often as it can be", d.name, maxEpoch-1)
	}
	w := layerWriter{to: osFile{to}, head: header{flags: flagSealed, size: d.head.size, epoch: 1, id: newID(), below: d.head.below}}
	after := uint32(0)
	if since != nil {
		after, w.head.below = since.Epoch, since.Layer
	}
	captured, err := w.write(ctx, []*store{&d.store}, after)
	if err != nil {
		d.noteDamage(err)
		return Captured{}, err
	}
	captured.Mark = Mark{Epoch: d.head.epoch, Layer: hex.EncodeToString(w.head.id[:]), Disk: id}
	d.head.epoch++
	if err := d.writeHeader(); err != nil {
		return Captured{}, err
	}
	return captured, d.sync()
}

// Changed is how many blocks a capture since the mark would keep, and how many would be zeros.
func (d *Disk) Changed(since *Mark) (blocks, zeros int64) {
	d.gate.Lock()
	defer d.gate.Unlock()
	for _, e := range d.entries {
		switch {
		case e == unknown || since != nil && e.epoch() <= since.Epoch:
		case e.state() == kept:
			blocks++
		case e.state() == zero:
			zeros++
		}
	}
	return blocks, zeros
}

// Merge writes layers as one, to an empty file. The first is the uppermost, and each stands on the next;
// the result stands on what the last one stands on. So a chain of layers stays short.
func Merge(ctx context.Context, to *os.File, layers ...*Layer) (Captured, error) {
	if len(layers) == 0 {
		return Captured{}, errNotLayered
	}
	stores := make([]*store, len(layers))
	size := int64(0)
	for i, l := range layers {
		if i > 0 && layers[i-1].head.below != l.Name() {
			return Captured{}, fmt.Errorf("%w: %s, %s", errNotLayered, layers[i-1].name, l.name)
		}
		stores[i] = &l.store
		size = max(size, l.size)
	}
	if layers[0].size != size {
		return Captured{}, fmt.Errorf("%w: %s is smaller than those below", errNotLayered, layers[0].name)
	}
	last := layers[len(layers)-1]
	w := layerWriter{to: osFile{to}, head: header{flags: flagSealed, size: size, epoch: 1, id: newID(), below: last.head.below}}
	captured, err := w.write(ctx, stores, 0)
	captured.Mark.Layer = hex.EncodeToString(w.head.id[:])
	return captured, err
}

// layerWriter makes the file of a layer.
type layerWriter struct {
	to      osFile
	head    header
	entries []entry
	result  Captured
	copied  bool // sharing was refused once
	buffer  []byte
}

func (w *layerWriter) begin() error {
	if err := w.to.Truncate(w.head.data() + w.head.size); err != nil {
		return fmt.Errorf("make a layer of a disk: %w", err)
	}
	w.entries = make([]entry, w.head.blocks())
	w.buffer = make([]byte, pieceSize)
	return nil
}

// put keeps one block, or that it is zeros.
func (w *layerWriter) put(p []byte, block int64) error {
	if isZero(p) {
		w.entries[block] = newEntry(block, zero, 1, 0)
		w.result.Zeros++
		return nil
	}
	if _, err := w.to.WriteAt(p, w.head.data()+block*Size); err != nil {
		return fmt.Errorf("write a layer of a disk: %w", err)
	}
	w.entries[block] = newEntry(block, kept, 1, checksum(p))
	w.result.Blocks++
	return nil
}

// write takes each block from the first store that has it, if it changed after an epoch.
func (w *layerWriter) write(ctx context.Context, from []*store, after uint32) (Captured, error) {
	if err := w.begin(); err != nil {
		return Captured{}, err
	}
	pick := func(block int64) (*store, state) {
		for _, s := range from {
			if block >= int64(len(s.entries)) || s.entries[block] == 0 || s.entries[block] != unknown && s.entries[block].epoch() <= after {
				continue
			}
			return s, s.entries[block].state()
		}
		return nil, below
	}
	for block := int64(0); block < w.head.blocks(); {
		s, is := pick(block)
		n := int64(1)
		if s == nil {
			block++
			continue
		}
		for block+n < w.head.blocks() {
			if s2, is2 := pick(block + n); s2 != s || is2 != is {
				break
			}
			n++
		}
		if err := w.take(ctx, s, is, block, n); err != nil {
			return Captured{}, err
		}
		block += n
	}
	return w.result, w.seal()
}

// take makes blocks of a store those of the layer.
func (w *layerWriter) take(ctx context.Context, s *store, is state, first, n int64) error {
	switch is {
	case zero:
		for i := range n {
			w.entries[first+i] = newEntry(first+i, zero, 1, 0)
		}
		w.result.Zeros += n
		return nil
	case kept:
	default:
		return &DamageError{File: s.name, Block: first, What: "its map"}
	}
	for i := range n {
		w.entries[first+i] = newEntry(first+i, kept, 1, s.entries[first+i].sum())
	}
	w.result.Blocks += n
	if w.share(s, first, n) {
		w.result.Shared += n
		return nil
	}
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := w.buffer[:min(n, pieceBlocks)*Size]
		if err := s.readKept(part, first); err != nil {
			return err
		}
		if _, err := w.to.WriteAt(part, w.head.data()+first*Size); err != nil {
			return fmt.Errorf("write a layer of a disk: %w", err)
		}
		first, n = first+int64(len(part)/Size), n-int64(len(part)/Size)
	}
	return nil
}

// share has the file system give blocks a second place without copying them, as XFS and Btrfs can.
// They are not read, and checked when somebody reads them.
func (w *layerWriter) share(s *store, first, n int64) bool {
	from, isFile := s.file.(osFile)
	if !isFile || w.copied {
		return false
	}
	err := unix.IoctlFileCloneRange(int(w.to.Fd()), &unix.FileCloneRange{
		Src_fd: int64(from.Fd()), Src_offset: uint64(s.head.data() + first*Size), Src_length: uint64(n * Size),
		Dest_offset: uint64(w.head.data() + first*Size),
	})
	w.copied = err != nil
	return err == nil
}

// seal writes map and header, and makes all durable.
func (w *layerWriter) seal() error {
	for first := 0; first < len(w.entries); first += mapStep / 8 {
		part := w.entries[first:min(first+mapStep/8, len(w.entries))]
		p := encodeEntries(w.buffer[:0], part)
		if allZero(p) {
			continue // a hole
		}
		if _, err := w.to.WriteAt(p, mapAt+int64(first)*8); err != nil {
			return fmt.Errorf("write the map of a layer of a disk: %w", err)
		}
	}
	w.head.mapSum = mapSum(w.entries)
	if _, err := w.to.WriteAt(w.head.encode(), 0); err != nil {
		return fmt.Errorf("write the header of a layer of a disk: %w", err)
	}
	if err := w.to.Sync(); err != nil {
		return fmt.Errorf("make a layer of a disk durable: %w", err)
	}
	return nil
}

// allZero is isZero for any length.
func allZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), Size)
		if !isZero(p[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
