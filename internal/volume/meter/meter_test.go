package meter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMeter: two writers together take no more than the limit, and what is removed comes back.
func TestMeter(t *testing.T) {
	dir, counter := t.TempDir(), filepath.Join(t.TempDir(), "counter")
	open := func() *Meter {
		f, err := os.OpenFile(counter, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, err := Open(f, 1<<20, dir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := open(), open()
	if n, err := a.Take(512<<10, 0); n != 512<<10 || err != nil {
		t.Fatalf("half of it: %d %v", n, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, 768<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Take(600<<10, 0); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than is left: %v", err)
	}
	if got := Measure(dir); got < 768<<10 || got > 800<<10 {
		t.Errorf("measured %d bytes of a file with two names", got)
	}
	if err := errors.Join(os.Remove(file), os.Remove(filepath.Join(dir, "again"))); err != nil {
		t.Fatal(err)
	}
	// Another one, as nobody measures twice within a second.
	if n, err := open().Take(900<<10, 0); n < 900<<10 || err != nil {
		t.Errorf("what was removed: %d %v", n, err)
	}

	// What b takes and gives is in the count only until somebody else measures.
	if n, err := b.Take(64<<10, 0); n < 64<<10 || err != nil {
		t.Fatalf("a little: %d %v", n, err)
	}
	before := b.used.Load()
	b.Give(64 << 10)
	if got := b.used.Load(); got != before {
		t.Errorf("what a measurement of others may have left out was given back: %d, then %d", before, got)
	}
}

// TestGive: what is given back can be taken again, without a measurement.
func TestGive(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "counter"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(f, 1<<20, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n, err := m.Take(900<<10, 0)
		if err != nil {
			t.Fatal(err)
		}
		m.Give(n)
	}
	if got := m.measurements.Load(); got != 1 {
		t.Errorf("measured %d times", got)
	}
}
