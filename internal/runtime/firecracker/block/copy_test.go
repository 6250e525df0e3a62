package block

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestCopies has a disk change as a file, captures that twice, and goes on from the captures as an overlay
// and as a file.
func TestCopies(t *testing.T) {
	base, content := newBase(t, 8<<20)
	dir := t.TempDir()
	want := append(content, make([]byte, 4<<20)...)
	c, way, err := CreateCopy(context.Background(), Options{Path: dir + "/copy", Below: base, Size: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Logf("made by: %s", way)
	requireContent(t, c.file, want)
	if n := allocatedBytes(t, c.file); n > 5<<20 {
		t.Errorf("a copy of 4 MiB and holes takes %d bytes", n)
	}
	change := func(p []byte, off int64) {
		t.Helper()
		f, err := os.OpenFile(c.Path(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
		copy(want[off:], p)
	}
	var on Backing = base
	for round := range 2 {
		change(bytes.Repeat([]byte{byte(round + 1)}, 10000), int64(round)<<20+100)
		change(make([]byte, 3*Size), 2<<20)
		f, err := os.Create(filepath.Join(dir, []string{"first", "second"}[round]))
		if err != nil {
			t.Fatal(err)
		}
		captured, err := c.Capture(context.Background(), f, on)
		f.Close()
		if err != nil || captured.Blocks != 3 || captured.Zeros != []int64{3, 0}[round] {
			t.Fatalf("round %d: %+v (%v)", round, captured, err)
		}
		on = openLayer(t, f.Name(), on)
		requireContent(t, on, want)
	}
	d, err := Create(Options{Path: dir + "/overlay", Below: on, Size: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abandon()
	requireContent(t, d, want)
	other, _, err := CreateCopy(context.Background(), Options{Path: dir + "/other", Below: on, Size: 12 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	requireContent(t, other.file, want)
	again, err := OpenCopy(other.Path())
	if err != nil || again.size != 12<<20 {
		t.Fatalf("%v", err)
	}
	again.Close()
}

// TestChoose has a way on any machine, and says why if it is not the best one.
func TestChoose(t *testing.T) {
	dir := t.TempDir()
	way, why := Choose(NewKernel(), dir)
	var unavailable *UnavailableError
	if way == "" || (way == WayServed) != (why == nil) || why != nil && !errors.As(why, &unavailable) {
		t.Errorf("%q: %v", way, why)
	}
	t.Logf("%s: %v", way, why)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}
