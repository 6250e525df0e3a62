package page

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"shoal/internal/atomicfile"
)

// WorkingSet is the pages that a guest needed first when its memory was restored, in that
// order. It is a hint: with another, or none, a guest is only slower.
type WorkingSet struct {
	pages uint32 // of the memory
	runs  []run  // at is not used
}

// Pages is how many pages the set has.
func (w *WorkingSet) Pages() int {
	n := 0
	for _, r := range w.runs {
		n += int(r.count)
	}
	return n
}

const workingSetFile = "working-set"

var workingSetMagic = [8]byte{'S', 'H', 'O', 'A', 'L', 'W', 'S', '1'}

// A working set is a file of: magic, pages of the memory, {first, count} of each run, a
// checksum of all that.
func (w *WorkingSet) encode() []byte {
	b := append([]byte{}, workingSetMagic[:]...)
	b = binary.LittleEndian.AppendUint32(b, w.pages)
	for _, r := range w.runs {
		b = binary.LittleEndian.AppendUint32(b, r.first)
		b = binary.LittleEndian.AppendUint32(b, r.count)
	}
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// decodeWorkingSet reads a set. The error is the reason.
func decodeWorkingSet(b []byte) (*WorkingSet, error) {
	const head, pair = 12, 8
	if len(b) < head+sumSize || (len(b)-head-sumSize)%pair != 0 || [8]byte(b) != workingSetMagic {
		return nil, errors.New("it is no working set")
	}
	body, sum := b[:len(b)-sumSize], binary.LittleEndian.Uint32(b[len(b)-sumSize:])
	if checksum(body) != sum {
		return nil, errors.New("it does not have its checksum")
	}
	w := &WorkingSet{pages: binary.LittleEndian.Uint32(b[8:])}
	if w.pages == 0 || w.pages > maxPages {
		return nil, errors.New("it is of no memory")
	}
	for c := range slices.Chunk(body[head:], pair) {
		r := run{first: binary.LittleEndian.Uint32(c), count: binary.LittleEndian.Uint32(c[4:])}
		if r.count == 0 || r.first >= w.pages || r.count > w.pages-r.first {
			return nil, errors.New("it has pages that the memory does not have")
		}
		w.runs = append(w.runs, r)
	}
	return w, nil
}

// SaveWorkingSet writes a set beside the memory in a directory, if there is none. A power cut
// may lose it.
func SaveWorkingSet(dir string, w *WorkingSet) error {
	err := atomicfile.WriteNew(filepath.Join(dir, workingSetFile), w.encode(), atomicfile.Volatile)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("keep a working set: %w", err)
	}
	return nil
}

// LoadWorkingSet reads the set beside the memory in a directory. It is nil if there is none, and
// also if it is damaged or of another memory: it is removed then, so that the next one is kept.
func LoadWorkingSet(dir string, m *Memory) (*WorkingSet, error) {
	path := filepath.Join(dir, workingSetFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read a working set: %w", err)
	}
	w, err := decodeWorkingSet(b)
	if err != nil || w.pages != m.pages {
		return nil, os.Remove(path)
	}
	return w, nil
}

// recorder makes a working set of what a guest faults for.
type recorder struct {
	set *WorkingSet
	has *Set
}

// maxRecorded bounds a record; a guest that needs that much first needs everything.
const maxRecorded = 1 << 16

func (r *recorder) add(page, count uint32) {
	if r.set == nil || len(r.set.runs) >= maxRecorded {
		return
	}
	for count > 0 {
		has, n := r.has.run(page, count)
		if n == 0 {
			return
		}
		if !has {
			r.has.Add(page, n)
			if l := len(r.set.runs); l > 0 && r.set.runs[l-1].end() == page {
				r.set.runs[l-1].count += n
			} else {
				r.set.runs = append(r.set.runs, run{first: page, count: n})
			}
		}
		page, count = page+n, count-n
	}
}
