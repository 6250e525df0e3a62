package block

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func allocatedBytes(t *testing.T, f *os.File) int64 {
	t.Helper()
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		t.Fatal(err)
	}
	return info.Blocks * 512
}

func capture(t *testing.T, d *Disk, since *Mark) (string, Captured) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	captured, err := d.Capture(context.Background(), f, since)
	if err != nil {
		t.Fatal(err)
	}
	return f.Name(), captured
}

func openLayer(t *testing.T, path string, below Backing) *Layer {
	t.Helper()
	l, err := OpenLayer(path, below)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := l.Verify(); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestChainOfCaptures captures what has changed again and again, over a restart of the server, and
// compares the chain, its merger and a disk on it with what the disk had.
func TestChainOfCaptures(t *testing.T) {
	d, content, o := newTestDisk(t, 16<<20, 0)
	random := rand.New(rand.NewPCG(3, 4))
	var chain []*Layer // the uppermost first
	var mark *Mark
	var below Backing = o.Below
	for round := range 5 {
		changed := map[int64]bool{}
		for range 40 {
			off := random.Int64N(16<<20/Size-20) * Size
			p := make([]byte, (1+random.Int64N(20))*Size)
			if random.IntN(4) == 0 {
				if err := d.Trim(off, int64(len(p))); err != nil {
					t.Fatal(err)
				}
				copy(content[off:], p)
			} else {
				fill(p, random)
				write(t, d, content, p, off)
			}
			for i := range int64(len(p) / Size) {
				changed[off/Size+i] = true
			}
		}
		if round == 3 { // another server
			if err := d.Abandon(); err != nil {
				t.Fatal(err)
			}
			var err error
			if d, err = Open(o); err != nil {
				t.Fatal(err)
			}
			defer d.Abandon()
		}
		path, captured := capture(t, d, mark)
		if n := captured.Blocks + captured.Zeros; n > int64(len(changed)) || n == 0 {
			t.Errorf("round %d: %d blocks were captured of %d that changed", round, n, len(changed))
		}
		mark = &captured.Mark
		l := openLayer(t, path, below)
		if l.Name() != mark.Layer || l.Below() != below.Name() {
			t.Errorf("round %d: the layer %s stands on %s", round, l.Name(), l.Below())
		}
		chain, below = append([]*Layer{l}, chain...), l
		requireContent(t, l, content)
	}
	if blocks, zeros := d.Changed(mark); blocks+zeros != 0 {
		t.Errorf("%d blocks and %d zeros have changed since the last capture", blocks, zeros)
	}

	f, err := os.Create(filepath.Join(t.TempDir(), "merged"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Merge(context.Background(), f, chain...); err != nil {
		t.Fatal(err)
	}
	merged := openLayer(t, f.Name(), o.Below)
	requireContent(t, merged, content)
	if _, err := Merge(context.Background(), f, chain[0], chain[2]); err == nil {
		t.Error("layers with one missing between them were merged")
	}

	// A disk on the layer changes, and the layer does not.
	upper, err := Create(Options{Path: filepath.Join(t.TempDir(), "upper"), Below: merged, Size: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer upper.Abandon()
	theirs := bytes.Clone(content)
	write(t, upper, theirs, bytes.Repeat([]byte{9}, 300), 70*Size-100)
	requireContent(t, upper, theirs)
	requireContent(t, merged, content)
	if upper.Kept() != 2*Size {
		t.Errorf("two blocks were touched, and %d bytes are kept", upper.Kept())
	}
	if _, err := upper.Capture(context.Background(), f, mark); !errors.Is(err, ErrMark) {
		t.Errorf("a mark of another disk: %v", err)
	}
}

// TestDamagedLayer changes a byte of a layer, in a block and in the map.
func TestDamagedLayer(t *testing.T) {
	d, content, o := newTestDisk(t, 1<<20, 0)
	write(t, d, content, bytes.Repeat([]byte{3}, 4*Size), 0)
	for _, at := range []int64{dataOffset(1<<20) + 3*Size, mapAt + 8, 40, mapAt + 8*100} {
		path, _ := capture(t, d, nil)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xff}, at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		l, err := OpenLayer(path, o.Below)
		if err == nil {
			err = l.Verify()
			l.Close()
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	path, _ := capture(t, d, nil)
	if _, err := Open(Options{Path: path, Below: o.Below}); err == nil {
		t.Error("a layer was opened for writing")
	}
	if _, err := OpenLayer(o.Path, o.Below); err == nil {
		t.Error("an overlay was opened as a layer")
	}
	if err := os.Truncate(path, dataOffset(1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLayer(path, o.Below); !errors.Is(err, ErrDamaged) {
		t.Errorf("a layer that was cut short: %v", err)
	}
}
