package page

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"shoal/internal/atomicfile"
)

// The memory of a snapshot is a directory:
//
//	memory.json    the names of the layers, lowest first
//	{ID}.layer     a layer; the lowest has all of the memory, each other what has changed
//	working-set    which pages the guest needed first when it was restored (workingset.go)
//
// A directory has all of its layers, so it can be moved, copied and removed without a look at
// others. Those that it has in common with the snapshot it stands on are hard links: they take
// no room, and are the same files to the host's page cache. Layers do not change.
//
// memory.json is written last and is replaced as a whole, so what is in the directory beside
// the layers that it names is nothing.

const (
	chainFile   = "memory.json"
	layerSuffix = ".layer"
	// MaxLayers is how many layers a chain has at most. Keep merges those that would be more.
	MaxLayers = 8
)

// chain is the content of memory.json.
type chain struct {
	Layers []string `json:"layers"`
}

// readChain returns the names of the layers of a directory, lowest first.
func readChain(dir string) ([]LayerID, error) {
	path := filepath.Join(dir, chainFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	ids, err := parseChain(data)
	if err != nil {
		return nil, damaged(path, "%v", err)
	}
	return ids, nil
}

// parseChain reads the content of memory.json. The error is the reason.
func parseChain(data []byte) ([]LayerID, error) {
	var c chain
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if d.Decode(&c) != nil || d.More() {
		return nil, errors.New("it is no list of layers")
	}
	if len(c.Layers) == 0 || len(c.Layers) > MaxLayers {
		return nil, fmt.Errorf("it names %d layers", len(c.Layers))
	}
	var ids []LayerID
	for _, name := range c.Layers {
		id, err := parseLayerID(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ids, id) {
			return nil, fmt.Errorf("it names the layer %s twice", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Files lists the names of the files of a memory, which may have others beside it.
func Files(dir string) ([]string, error) {
	ids, err := readChain(dir)
	if err != nil {
		return nil, err
	}
	names := []string{chainFile}
	for _, id := range ids {
		names = append(names, id.String()+layerSuffix)
	}
	return names, nil
}

func writeChain(dir string, ids []LayerID, d atomicfile.Durability) error {
	var c chain
	for _, id := range ids {
		c.Layers = append(c.Layers, id.String())
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, chainFile), data, 0o600, d)
}

func layerPath(dir string, id LayerID) string { return filepath.Join(dir, id.String()+layerSuffix) }

// extent is pages of the guest that follow each other in one layer.
type extent struct {
	run
	layer *layer
	sum   uint32 // place of the first page's checksum in the layer's
}

// zero means that the pages are in no file.
func (e extent) zero() bool { return e.layer == nil }

// part is the pages of an extent from page on, at most limit.
func (e extent) part(page, limit uint32) extent {
	skip := page - e.first
	e.first, e.count = page, min(e.count-skip, limit)
	if !e.zero() {
		e.at, e.sum = e.at+skip, e.sum+skip
	}
	return e
}

// Memory is the memory of a snapshot, open for reading. It is safe for concurrent use until
// Close.
type Memory struct {
	layers  []*layer
	extents []extent // in order; what is in none is zero
	pages   uint32
}

// Open opens the memory in a directory. It checks the layers' footers and indexes, and that
// each stands on the one below; the pages are checked as they are read. Errors are
// ErrSnapshotMissing, ErrSnapshotDamaged, or the disk's.
func Open(dir string) (*Memory, error) {
	ids, err := readChain(dir)
	if err != nil {
		return nil, err
	}
	m := &Memory{}
	for i, id := range ids {
		l, err := openLayer(layerPath(dir, id))
		if err == nil {
			m.layers = append(m.layers, l)
			err = m.fits(i, id)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	m.pages = uint32(m.layers[0].pages)
	m.extents = flatten(m.layers, false)
	return m, nil
}

// fits checks that the layer at depth i is the one that was looked for, and stands on the one
// below.
func (m *Memory) fits(i int, id LayerID) error {
	l, below := m.layers[i], LayerID{}
	if i > 0 {
		below = m.layers[i-1].id
	}
	switch {
	case l.id != id:
		return damaged(l.path, "it is the layer %s", l.id)
	case l.parent != below || int(l.depth) != i:
		return damaged(l.path, "it stands on the layer %s and not on %s", l.parent, below)
	case l.pages != m.layers[0].pages:
		return damaged(l.path, "its guest had %d pages, and that of the layers below %d", l.pages, m.layers[0].pages)
	}
	return nil
}

// flatten is what layers have together, each over those below. Pages that are zero are in no
// extent, or, if zeros are asked for, in an extent without a layer.
func flatten(layers []*layer, zeros bool) []extent {
	var all []extent
	for _, l := range layers {
		above := make([]extent, 0, len(l.x.runs))
		sum := uint32(0)
		for _, r := range l.x.runs {
			e := extent{run: r}
			if r.at != zeroRun {
				e.layer, e.sum = l, sum
				sum += r.count
			}
			above = append(above, e)
		}
		all = overlay(all, above)
	}
	if !zeros {
		all = slices.DeleteFunc(all, extent.zero)
	}
	return slices.Clip(all)
}

// overlay puts extents over others.
func overlay(below, above []extent) []extent {
	if len(below) == 0 {
		return above
	}
	all := make([]extent, 0, len(below)+2*len(above))
	from := uint32(0) // what is below is dealt with up to here
	emit := func(to uint32) {
		for len(below) > 0 && below[0].first < to {
			e := below[0]
			if start := max(e.first, from); start < min(e.end(), to) {
				all = append(all, e.part(start, min(e.end(), to)-start))
			}
			if e.end() > to {
				return
			}
			below = below[1:]
		}
	}
	for _, e := range above {
		emit(e.first)
		all = append(all, e)
		from = e.end()
	}
	emit(maxPages)
	return all
}

// find returns the pages from page on, at most limit, that are in one extent.
func (m *Memory) find(page, limit uint32) extent {
	limit = min(limit, m.pages-page)
	i, found := slices.BinarySearchFunc(m.extents, page, func(e extent, p uint32) int { return cmp.Compare(e.first, p) })
	if !found {
		i--
	}
	if i >= 0 && page < m.extents[i].end() {
		return m.extents[i].part(page, limit)
	}
	if i+1 < len(m.extents) {
		limit = min(limit, m.extents[i+1].first-page)
	}
	return extent{run: run{first: page, count: limit, at: zeroRun}}
}

// Pages is how many pages the guest's memory has.
func (m *Memory) Pages() uint32 { return m.pages }

// Bytes is the size of the guest's memory.
func (m *Memory) Bytes() int64 { return int64(m.pages) * Size }

// Layers is how many layers the memory consists of, from 1 to MaxLayers.
func (m *Memory) Layers() int { return len(m.layers) }

// Backing is the size of the pages that the guest's memory had on its host, in bytes: Size or
// HugeSize. A guest that had huge pages is restored with huge pages.
func (m *Memory) Backing() int { return int(m.layers[len(m.layers)-1].backing) }

// DataPages is how many pages are in files, and not zero.
func (m *Memory) DataPages() int {
	n := 0
	for _, e := range m.extents {
		n += int(e.count)
	}
	return n
}

// ReadAt reads the guest's memory from an offset on, as the io.ReaderAt that it is.
func (m *Memory) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("read a guest's memory: the offset is negative")
	}
	buf := make([]byte, Size)
	for n < len(p) {
		at := off + int64(n)
		if at >= m.Bytes() {
			return n, io.EOF
		}
		if err := m.readPages(buf, uint32(at/Size)); err != nil {
			return n, err
		}
		n += copy(p[n:], buf[at%Size:])
	}
	return n, nil
}

// readPages reads whole pages from page on, whatever layers they are in.
func (m *Memory) readPages(p []byte, page uint32) error {
	for len(p) > 0 {
		e := m.find(page, uint32(len(p)/Size))
		n := e.count
		if e.zero() {
			clear(p[:n*Size])
		} else if _, err := e.layer.read(p[:n*Size], e.at, e.sum, true); err != nil {
			return err
		}
		p, page = p[n*Size:], page+n
	}
	return nil
}

// Verify reads every page and compares the checksums. Errors are ErrSnapshotDamaged, the
// disk's, or the context's.
func (m *Memory) Verify(ctx context.Context) error {
	for _, l := range m.layers {
		if err := l.verify(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the files. Nothing may be read any more.
func (m *Memory) Close() error {
	var err error
	for _, l := range m.layers {
		err = errors.Join(err, l.file.Close())
	}
	return err
}
