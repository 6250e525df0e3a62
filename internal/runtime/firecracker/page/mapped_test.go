package page

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMapped: a memory that Firecracker can map is one in its file, and what was taken from a
// mapping is known.
func TestMapped(t *testing.T) {
	tmp, r := t.TempDir(), rand.New(rand.NewPCG(1, 1))
	const pages = 300
	m := mixed(r, pages)
	one, two, packed := filepath.Join(tmp, "1"), filepath.Join(tmp, "2"), filepath.Join(tmp, "packed")
	keep(t, packed, Dump{File: m.file(t)})
	keep(t, one, Dump{File: m.file(t), Move: true})
	keep(t, two, Dump{File: m.dump(t, filepath.Join(tmp, "d"), map[int]bool{5: true}), Parent: one, Move: true})
	for dir, want := range map[string]bool{one: true, two: false, packed: false} {
		if path, ok := open(t, dir).File(); ok != want {
			t.Errorf("%s: %q", dir, path)
		}
	}
	memory := open(t, one)
	path, _ := memory.File()
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(data[:len(m)], m) {
		t.Fatalf("the file is another: %v", err)
	}
	if _, err := memory.MappedRemoved(os.Getpid()); err == nil {
		t.Error("it is not mapped")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Two regions, as around the gap below 4 GiB.
	var parts [2][]byte
	for i, part := range []struct{ first, count int }{{0, 100}, {100, 200}} {
		parts[i], err = unix.Mmap(int(f.Fd()), int64(part.first*Size), part.count*Size,
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(parts[i])
	}
	if none, err := memory.MappedRemoved(os.Getpid()); err != nil || none.Len() != 0 {
		t.Fatalf("%d pages, %v", none.Len(), err)
	}
	for _, p := range []int{0, 7, 8, 199} { // pages of the second region
		if err := mapEmpty(parts[1][p*Size:][:Size]); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := memory.MappedRemoved(os.Getpid())
	if err != nil || removed.Len() != 4 {
		t.Fatalf("%d pages, %v", removed.Len(), err)
	}
	for _, p := range []uint32{100, 107, 108, 299} {
		if !removed.Has(p) {
			t.Errorf("page %d is not removed", p)
		}
	}
}
