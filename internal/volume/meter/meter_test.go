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
}
