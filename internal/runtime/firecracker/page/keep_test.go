package page

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
)

// image is the memory of a guest, as a test has it.
type image []byte

func newImage(pages int) image { return make(image, pages*Size) }

func (m image) page(i int) []byte { return m[i*Size:][:Size] }

// fill makes a page one that no other is.
func (m image) fill(r *rand.Rand, i int) {
	for at := 0; at < Size; at += 512 {
		m.page(i)[at] = byte(1 + r.IntN(255))
		m.page(i)[at+1] = byte(r.IntN(256))
	}
}

// dump writes what Firecracker would: a file as long as the memory, with the pages of changed,
// or all if that is nil.
func (m image) dump(t testing.TB, path string, changed map[int]bool) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(m))); err != nil {
		t.Fatal(err)
	}
	if changed == nil {
		if _, err := f.WriteAt(m, 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range changed {
		if _, err := f.WriteAt(m.page(i), int64(i)*Size); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func keep(t testing.TB, dir string, d Dump) Kept {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	kept, err := Keep(context.Background(), dir, d)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func open(t testing.TB, dir string) *Memory {
	t.Helper()
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// is fails unless a directory has an image, by every way to read it.
func (m image) is(t testing.TB, dir string) {
	t.Helper()
	have := open(t, dir)
	if have.Bytes() != int64(len(m)) {
		t.Fatalf("%d bytes of %d", have.Bytes(), len(m))
	}
	got := make([]byte, len(m))
	if n, err := have.ReadAt(got, 0); err != nil || n != len(m) {
		t.Fatalf("%d, %v", n, err)
	}
	for i := range len(m) / Size {
		if !bytes.Equal(got[i*Size:][:Size], m.page(i)) {
			t.Fatalf("page %d is another", i)
		}
	}
	if err := have.readPages(got, 0); err != nil || !bytes.Equal(got, m) {
		t.Fatalf("read by pages: %v", err)
	}
	if err := have.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestSet(t *testing.T) {
	const pages = 1000
	s, want := NewSet(pages), map[uint32]bool{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		first, count, add := r.Uint32N(pages+50), r.Uint32N(130), r.IntN(2) == 0
		if add {
			s.Add(first, count)
		} else {
			s.Remove(first, count)
		}
		for p := first; p < min(first+count, pages); p++ {
			want[p] = add
		}
		for p := uint32(0); p < pages; p++ {
			if s.Has(p) != want[p] {
				t.Fatalf("page %d", p)
			}
		}
		at, limit := r.Uint32N(pages), r.Uint32N(300)
		in, n := s.run(at, limit)
		if in != want[at] || n > limit || limit > 0 && n == 0 {
			t.Fatalf("run at %d, at most %d: %v %d", at, limit, in, n)
		}
		for p := at; p < at+n; p++ {
			if want[p] != in {
				t.Fatalf("run at %d of %d has page %d", at, n, p)
			}
		}
		if n < limit && at+n < pages && want[at+n] == in {
			t.Fatalf("run at %d of %d goes on", at, n)
		}
	}
	c := s.Clone()
	c.Subtract(s)
	if c.Len() != 0 || s.Len() == 0 {
		t.Errorf("%d, %d", c.Len(), s.Len())
	}
}

// TestKeep: the chain has what the guest had, whatever was kept in whatever way, and pages
// that are zero are in no file.
func TestKeep(t *testing.T) {
	for name, move := range map[string]bool{"packed": false, "moved": true} {
		t.Run(name, func(t *testing.T) {
			const pages = 600
			tmp, r := t.TempDir(), rand.New(rand.NewPCG(2, 2))
			m := newImage(pages)
			for i := range pages {
				if r.IntN(3) == 0 || i > 100 && i < 300 {
					m.fill(r, i)
				}
			}
			parent := ""
			merged := false
			for generation := range 3*MaxLayers + 1 {
				var changed map[int]bool
				if generation > 0 {
					changed = map[int]bool{}
				}
				zero := 0
				for range r.IntN(40) {
					i := r.IntN(pages)
					switch {
					case changed == nil:
					case r.IntN(4) == 0:
						clear(m.page(i))
					default:
						m.fill(r, i)
					}
					if changed != nil {
						changed[i] = true
					}
				}
				var removed *Set
				if generation > 1 {
					removed = NewSet(pages)
					first, count := r.IntN(pages-20), r.IntN(20)
					removed.Add(uint32(first), uint32(count))
					for i := first; i < first+count; i++ {
						if !changed[i] { // what the guest wrote afterwards counts
							clear(m.page(i))
						}
					}
				}
				for i := range changed {
					if bytes.Equal(m.page(i), zeroPages[:Size]) {
						zero++
					}
				}
				file := m.dump(t, filepath.Join(tmp, "dump"), changed)
				dir := filepath.Join(tmp, "snapshot", string(rune('a'+generation)))
				kept := keep(t, dir, Dump{File: file, Parent: parent, Move: move, Removed: removed,
					Durability: atomicfile.Durability(generation % 2)})
				if changed != nil && (kept.Changed != len(changed) || kept.Zero != zero) {
					t.Errorf("generation %d: %+v, not %d changed and %d zero", generation, kept, len(changed), zero)
				}
				if kept.Layers > MaxLayers {
					t.Errorf("%d layers", kept.Layers)
				}
				merged = merged || kept.Merged
				if _, err := os.Stat(file); move != errors.Is(err, os.ErrNotExist) {
					t.Errorf("the dump: %v", err)
				}
				m.is(t, dir)
				if parent != "" && generation%5 == 0 { // a snapshot needs no other
					if err := os.RemoveAll(parent); err != nil {
						t.Fatal(err)
					}
					m.is(t, dir)
				}
				parent = dir
			}
			if !merged {
				t.Error("nothing was merged")
			}
		})
	}
}

// TestKeepTakesLittle: a packed layer has no zeros, and layers that snapshots have in common
// are one file.
func TestKeepTakesLittle(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(3, 3))
	const pages = 4096
	m := newImage(pages)
	for i := range 64 {
		m.fill(r, i*7)
	}
	one, two := filepath.Join(tmp, "one"), filepath.Join(tmp, "two")
	if kept := keep(t, one, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil)}); kept.Zero != pages-64 {
		t.Errorf("%+v", kept)
	}
	m.fill(r, 5)
	keep(t, two, Dump{File: m.dump(t, filepath.Join(tmp, "d"), map[int]bool{5: true}), Parent: one})
	below, above := open(t, one), open(t, two)
	a, _ := os.Stat(below.layers[0].path)
	b, _ := os.Stat(above.layers[0].path)
	if !os.SameFile(a, b) || a.Size() > 80*Size {
		t.Errorf("%d bytes, the same: %v", a.Size(), os.SameFile(a, b))
	}
	if above.DataPages() != 65 || above.Backing() != Size || above.Layers() != 2 {
		t.Errorf("%d pages in files", above.DataPages())
	}
}

// TestKeepInParent: a chain can grow where it is; who reads the old one goes on.
func TestKeepInParent(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(4, 4))
	m := newImage(64)
	dir := filepath.Join(tmp, "memory")
	m.fill(r, 1)
	keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil)})
	old := open(t, dir)
	for range 2 * MaxLayers {
		m.fill(r, r.IntN(64))
		m.fill(r, 7)
		keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil), Parent: dir})
		m.is(t, dir)
		if err := old.Verify(context.Background()); err != nil {
			t.Error(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > MaxLayers+1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// TestMergeKeepsBase: the layer that sandboxes of a template share stays, unless there is
// little of it left to see.
func TestMergeKeepsBase(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(5, 5))
	const pages = 256
	for name, rewritten := range map[string]int{"some": 20, "nearly all": pages} {
		m := newImage(pages)
		for i := range pages {
			m.fill(r, i)
		}
		dir := filepath.Join(tmp, name)
		keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil)})
		base := open(t, dir).layers[0].id
		for range MaxLayers {
			changed := map[int]bool{}
			for i := range rewritten {
				m.fill(r, i)
				changed[i] = true
			}
			keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), changed), Parent: dir})
		}
		m.is(t, dir)
		after := open(t, dir)
		if stays := after.layers[0].id == base; stays != (rewritten < pages) {
			t.Errorf("%s rewritten: the base stays: %v", name, stays)
		}
		if want := map[bool]int{true: 2, false: 1}[rewritten < pages]; after.Layers() != want {
			t.Errorf("%s rewritten: %d layers", name, after.Layers())
		}
	}
}

// TestKeepInterrupted: until Keep is done, and if it fails at any place, the directory has the
// memory that it had, and Sweep removes the rest.
func TestKeepInterrupted(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(6, 6))
	m := newImage(2000)
	for i := range 2000 {
		m.fill(r, i)
	}
	dir := filepath.Join(tmp, "memory")
	keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), nil)})
	before := m
	m = bytes.Clone(m)
	for i := range 2000 {
		m.fill(r, i)
	}
	for _, move := range []bool{false, true} {
		for _, after := range []int{0, 3, 7} {
			file := m.dump(t, filepath.Join(tmp, "d"), nil)
			ctx := &endsAfter{Context: context.Background(), looks: after}
			if _, err := Keep(ctx, dir, Dump{File: file, Parent: dir, Move: move}); !errors.Is(err, context.Canceled) {
				t.Fatalf("after %d looks: %v", after, err)
			}
			before.is(t, dir)
			if info, err := os.Stat(file); err != nil || info.Size() != int64(len(m)) {
				t.Errorf("the dump: %v", err)
			}
			if err := Sweep(dir); err != nil {
				t.Error(err)
			}
			if files, _ := os.ReadDir(dir); len(files) != 2 {
				t.Errorf("left: %v", files)
			}
		}
	}
}

// endsAfter is a context that ends when it was looked at so many times.
type endsAfter struct {
	context.Context
	looks int
}

func (c *endsAfter) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestKilledAtEveryStep: what a process that is killed leaves is the old memory or the new one.
// Each file of the directory appears in one step, so each order of them is a moment to be
// killed at.
func TestKilledAtEveryStep(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(7, 7))
	old := newImage(100)
	for i := range 100 {
		old.fill(r, i)
	}
	dir := filepath.Join(tmp, "memory")
	keep(t, dir, Dump{File: old.dump(t, filepath.Join(tmp, "d"), nil)})
	chainBefore, err := os.ReadFile(filepath.Join(dir, chainFile))
	if err != nil {
		t.Fatal(err)
	}
	m := image(bytes.Clone(old))
	m.fill(r, 3)
	keep(t, dir, Dump{File: m.dump(t, filepath.Join(tmp, "d"), map[int]bool{3: true}), Parent: dir})
	m.is(t, dir)
	// The new layer has its name, and memory.json not yet.
	if err := os.WriteFile(filepath.Join(dir, chainFile), chainBefore, 0o600); err != nil {
		t.Fatal(err)
	}
	old.is(t, dir)
	// Neither: a half of the layer lies there under no name.
	if err := os.WriteFile(filepath.Join(dir, ".x"+atomicfile.Suffix), m[:1000], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	old.is(t, dir)
	// No memory at all.
	if err := os.Remove(filepath.Join(dir, chainFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !shoal.ErrSnapshotMissing.Matches(err) {
		t.Errorf("without a chain: %v", err)
	}
}

// TestReflink: where the file system can let files have pages in common, they are not copied.
func TestReflink(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.XFS_SUPER_MAGIC && fs.Type != unix.BTRFS_SUPER_MAGIC {
		t.Skip("the temporary directory is on neither XFS nor Btrfs")
	}
	m := newImage(40)
	for i := range 40 {
		m.fill(rand.New(rand.NewPCG(10, uint64(i))), i)
	}
	f, err := os.Open(m.dump(t, filepath.Join(dir, "d"), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := newLayerWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.discard()
	for _, first := range []int{7, 0, 30} {
		at, err := w.write(f, uint32(first), m[first*Size:][:5*Size])
		got := make([]byte, 5*Size)
		if _, rerr := w.file.ReadAt(got, int64(at)*Size); err != nil || rerr != nil || !bytes.Equal(got, m[first*Size:][:5*Size]) {
			t.Errorf("pages from %d: %v, %v", first, err, rerr)
		}
	}
	if w.copies {
		t.Error("pages were copied")
	}
}
