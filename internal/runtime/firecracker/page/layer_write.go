package page

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
)

// layerWriter writes a layer whose pages follow each other.
type layerWriter struct {
	file *atomicfile.File
	next uint32 // page of the file
	// copies means that the file system cannot let two files have pages in common.
	copies bool
}

func newLayerWriter(dir string) (*layerWriter, error) {
	f, err := atomicfile.Create(dir)
	if err != nil {
		return nil, err
	}
	return &layerWriter{file: f}, nil
}

// write adds pages, and returns where they are. If the file that they come from, where they
// begin at page from, is given, they are not copied if the file system can do without.
func (w *layerWriter) write(src *os.File, from uint32, data []byte) (at uint32, err error) {
	at = w.next
	w.next += uint32(len(data) / Size)
	if src != nil && !w.copies {
		err := unix.IoctlFileCloneRange(int(w.file.Fd()), &unix.FileCloneRange{Src_fd: int64(src.Fd()),
			Src_offset: uint64(from) * Size, Src_length: uint64(len(data)), Dest_offset: uint64(at) * Size})
		if err == nil {
			return at, nil
		}
		w.copies = true
	}
	_, err = w.file.WriteAt(data, int64(at)*Size)
	return at, err
}

// finish adds the index and gives the layer its name.
func (w *layerWriter) finish(dir string, h header, x *index, d atomicfile.Durability) error {
	if err := appendIndex(w.file.File, int64(w.next), h, x); err != nil {
		return err
	}
	return w.file.Commit(layerPath(dir, h.id), 0o600, d)
}

// discard removes the file, unless it is finished.
func (w *layerWriter) discard() { _ = w.file.Discard() }

// appendIndex writes the index and the footer behind the pages of a file.
func appendIndex(f *os.File, pages int64, h header, x *index) error {
	b := x.encode()
	h.index, h.length, h.sum, h.data = uint64(pages)*Size, uint64(len(b)), checksum(b), uint64(len(x.sums))
	_, err := f.WriteAt(append(b, h.encode()...), int64(h.index))
	return err
}

// keepsBase is which part of the lowest layer's pages must still be seen through the others,
// as a divisor, for it not to be merged with them: sandboxes of a template share it.
const keepsBase = 4

// merge makes one layer of several in a directory, and returns those that there are then. The
// lowest stays what it is, unless little of it is left to see.
func merge(ctx context.Context, dir string, ids []LayerID, d atomicfile.Durability) ([]LayerID, error) {
	m := &Memory{}
	defer func() { _ = m.Close() }()
	for i, id := range ids {
		l, err := openLayer(layerPath(dir, id))
		if err != nil {
			return nil, err
		}
		m.layers = append(m.layers, l)
		if err := m.fits(i, id); err != nil {
			return nil, err
		}
	}
	m.pages = uint32(m.layers[0].pages)
	from := 1
	if seen := m.seen(); seen < m.layers[0].header.data/keepsBase {
		from = 0
	}
	top := m.layers[len(m.layers)-1]
	h := header{id: newLayerID(), pages: top.pages, backing: top.backing}
	if from > 0 {
		h.parent, h.depth = ids[from-1], uint32(from)
	}
	w, err := newLayerWriter(dir)
	if err != nil {
		return nil, err
	}
	defer w.discard()
	x, err := w.copyExtents(ctx, flatten(m.layers[from:], from > 0))
	if err != nil {
		return nil, err
	}
	if err := w.finish(dir, h, x, d); err != nil {
		return nil, err
	}
	return append(ids[:from:from], h.id), nil
}

// seen is how many pages of the lowest layer no other hides.
func (m *Memory) seen() (pages uint64) {
	for _, e := range flatten(m.layers, false) {
		if e.layer == m.layers[0] {
			pages += uint64(e.count)
		}
	}
	return pages
}

// copyExtents adds the pages of extents, and returns the index of them.
func (w *layerWriter) copyExtents(ctx context.Context, extents []extent) (*index, error) {
	x := &index{}
	buf := make([]byte, chunk*Size)
	for _, e := range extents {
		if e.zero() {
			x.addZeros(e.first, e.count)
			continue
		}
		for e.count > 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n := min(e.count, chunk)
			if _, err := e.layer.read(buf[:n*Size], e.at, e.sum, true); err != nil {
				return nil, err
			}
			at, err := w.write(e.layer.file, e.at, buf[:n*Size])
			if err != nil {
				return nil, err
			}
			for i := range n {
				x.add(e.first+i, at+i, e.layer.x.sums[e.sum+i])
			}
			if e.count -= n; e.count > 0 {
				e = extent{run: run{first: e.first + n, count: e.count, at: e.at + n}, layer: e.layer, sum: e.sum + n}
			}
		}
	}
	return x, nil
}
