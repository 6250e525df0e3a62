package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const testSize = 16 << 20

// fill writes random bytes, of which none of eight is zero.
func fill(p []byte, random *rand.Rand) {
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, random.Uint64()|0x0101010101010101)
	}
	for i := range p {
		p[i] = byte(random.Uint32())
	}
}

// newBase makes a base of random bytes with a hole in its second half.
func newBase(t *testing.T, size int64) (*Base, []byte) {
	t.Helper()
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{19})
	_, _ = random.Read(content[:size/2])
	path := filepath.Join(t.TempDir(), "base")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content[:size/2]); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	base, err := OpenBase(path, "sha256:0123")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	return base, content
}

func newTestDisk(t *testing.T, size, limit int64) (*Disk, []byte, Options) {
	t.Helper()
	base, content := newBase(t, size/2)
	o := Options{Path: filepath.Join(t.TempDir(), "overlay"), Below: base, Size: size, Limit: limit}
	d, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Abandon() })
	return d, append(content, make([]byte, size-int64(len(content)))...), o
}

func requireContent(t *testing.T, d interface {
	ReadAt(p []byte, off int64) (int, error)
}, want []byte) {
	t.Helper()
	have := make([]byte, len(want))
	if _, err := d.ReadAt(have, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		for i := range have {
			if have[i] != want[i] {
				t.Fatalf("byte %d, of block %d, is %#x and not %#x", i, i/Size, have[i], want[i])
			}
		}
	}
}

func write(t *testing.T, d Device, content []byte, p []byte, off int64) {
	t.Helper()
	if _, err := d.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
	copy(content[off:], p)
}

func TestDiskReadsWhatWasWritten(t *testing.T) {
	d, content, o := newTestDisk(t, testSize, 0)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := random.Int64N(testSize - 1)
		length := min(random.Int64N(3*pieceSize/2)+1, testSize-off)
		if random.IntN(2) == 0 {
			off, length = off/Size*Size, max(length/Size*Size, Size)
		}
		switch random.IntN(4) {
		case 0:
			if err := d.WriteZeroes(off, length, random.IntN(2) == 0); err != nil {
				t.Fatal(err)
			}
			clear(content[off : off+length])
		case 1:
			if err := d.Trim(off, length); err != nil {
				t.Fatal(err)
			}
			first, end := (off+Size-1)/Size*Size, (off+length)/Size*Size
			if first < end {
				clear(content[first:end])
			}
		default:
			p := make([]byte, length)
			if random.IntN(4) != 0 {
				fill(p, random)
			}
			write(t, d, content, p, off)
		}
	}
	requireContent(t, d, content)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	requireContent(t, d, content)
	if d.Recovered() != 0 {
		t.Errorf("%d blocks were recovered of a disk that was closed", d.Recovered())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDiskAtOnce has many write and flush at once, each in a range of its own, with blocks that two share.
func TestDiskAtOnce(t *testing.T) {
	d, content, _ := newTestDisk(t, testSize, 0)
	const writers = 8
	var all sync.WaitGroup
	part := int64(testSize/writers) - 512 // not whole blocks
	for w := range int64(writers) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 5))
			mine := content[w*part : (w+1)*part]
			for range 50 {
				off := random.Int64N(part - 1)
				p := make([]byte, min(random.Int64N(20*Size)+1, part-off))
				fill(p, random)
				if _, err := d.WriteAt(p, w*part+off); err != nil {
					t.Error(err)
				}
				copy(mine[off:], p)
				if random.IntN(20) == 0 {
					if err := d.Flush(); err != nil {
						t.Error(err)
					}
				}
				if _, err := d.ReadAt(p, w*part+off); err != nil || !bytes.Equal(p, mine[off:off+int64(len(p))]) {
					t.Errorf("writer %d reads something else (%v)", w, err)
				}
			}
		})
	}
	all.Wait()
	requireContent(t, d, content)
}

func TestDiskHasALimit(t *testing.T) {
	d, content, _ := newTestDisk(t, testSize, 10*Size)
	full := bytes.Repeat([]byte{7}, 10*Size)
	write(t, d, content, full, 0)
	if _, err := d.WriteAt(full[:Size], 20*Size); !errors.Is(err, ErrFull) {
		t.Fatalf("an eleventh block: %v", err)
	}
	write(t, d, content, bytes.Repeat([]byte{8}, 10*Size), 0) // those it has may change
	if err := d.Trim(0, 2*Size); err != nil {
		t.Fatal(err)
	}
	clear(content[:2*Size])
	write(t, d, content, full[:2*Size], 20*Size)
	requireContent(t, d, content)
	if d.Kept() != 10*Size {
		t.Errorf("it keeps %d bytes", d.Kept())
	}
}

func TestDiscardedBlocksTakeNoRoom(t *testing.T) {
	d, content, o := newTestDisk(t, testSize, 0)
	allocated := func() int64 {
		f, err := os.Open(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return allocatedBytes(t, f)
	}
	write(t, d, content, bytes.Repeat([]byte{1}, 8<<20), 0)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	before := allocated()
	if err := d.Trim(0, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	clear(content[:8<<20])
	if after := allocated(); after > before-(7<<20) {
		t.Errorf("the file has %d bytes before the discard and %d after", before, after)
	}
	requireContent(t, d, content) // and so no byte of the base
	if blocks, zeros := d.Changed(nil); blocks != 0 || zeros != 8<<20/Size {
		t.Errorf("%d blocks are kept and %d zeros known", blocks, zeros)
	}
	// What reads as zeros anyway is not even noted.
	if err := d.Trim(testSize/2, testSize/2); err != nil {
		t.Fatal(err)
	}
	write(t, d, content, make([]byte, 1<<20), testSize/2)
	if _, zeros := d.Changed(nil); zeros != 8<<20/Size {
		t.Errorf("%d zeros known", zeros)
	}
}

// TestDamageIsNamed changes a byte of the file for each kind of place in it.
func TestDamageIsNamed(t *testing.T) {
	damage := func(t *testing.T, path string, at int64) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p := make([]byte, 1)
		if _, err := f.ReadAt(p, at); err != nil {
			t.Fatal(err)
		}
		p[0] ^= 0x10
		if _, err := f.WriteAt(p, at); err != nil {
			t.Fatal(err)
		}
	}
	closed := func(t *testing.T) (Options, []byte) {
		d, content, o := newTestDisk(t, 1<<20, 0)
		write(t, d, content, bytes.Repeat([]byte{3}, 4*Size), 0)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return o, content
	}
	t.Run("block", func(t *testing.T) {
		o, content := closed(t)
		damage(t, o.Path, dataOffset(1<<20)+2*Size+100)
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abandon()
		var e *DamageError
		if _, err := d.ReadAt(make([]byte, 4*Size), 0); !errors.As(err, &e) || e.Block != 2 || e.File != o.Path || !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged block: %v", err)
		}
		if _, err := d.WriteAt([]byte{1}, 2*Size); !errors.Is(err, ErrDamaged) {
			t.Errorf("a part of a damaged block was written: %v", err)
		}
		// All of it written, it is well again; the others always were.
		write(t, d, content, bytes.Repeat([]byte{4}, Size), 2*Size)
		requireContent(t, d, content)
	})
	t.Run("map of a closed disk", func(t *testing.T) {
		o, _ := closed(t)
		damage(t, o.Path, mapAt+8*200)
		if _, err := Open(o); !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged map: %v", err)
		}
	})
	t.Run("map", func(t *testing.T) {
		d, content, o := newTestDisk(t, 1<<20, 0)
		write(t, d, content, bytes.Repeat([]byte{3}, 4*Size), 0)
		d.Abandon()
		damage(t, o.Path, mapAt+8+5) // the epoch of block 1
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abandon()
		var e *DamageError
		if _, err := d.ReadAt(make([]byte, 4*Size), 0); !errors.As(err, &e) || e.Block != 1 {
			t.Errorf("a damaged entry: %v", err)
		}
		write(t, d, content, bytes.Repeat([]byte{4}, Size), Size)
		requireContent(t, d, content)
	})
	t.Run("header", func(t *testing.T) {
		o, _ := closed(t)
		damage(t, o.Path, 25)
		if _, err := Open(o); !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged header: %v", err)
		}
	})
	t.Run("cut short", func(t *testing.T) {
		o, _ := closed(t)
		if err := os.Truncate(o.Path, dataOffset(1<<20)+1000); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o); !errors.Is(err, ErrDamaged) {
			t.Errorf("a file that was cut short: %v", err)
		}
	})
	t.Run("base cut short", func(t *testing.T) {
		o, _ := closed(t)
		d, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abandon()
		if err := os.Truncate(o.Below.(*Base).file.Name(), 5*Size); err != nil {
			t.Fatal(err)
		}
		var e *DamageError
		if _, err := d.ReadAt(make([]byte, 4*Size), 4*Size); !errors.As(err, &e) || e.Block != 5 {
			t.Errorf("a base that was cut short: %v", err)
		}
	})
}

func TestDiskIsRefused(t *testing.T) {
	d, _, o := newTestDisk(t, 1<<20, 0)
	if _, err := Open(o); err == nil {
		t.Error("a disk was opened twice")
	}
	if _, err := d.ReadAt(make([]byte, 2), 1<<20-1); !errors.Is(err, ErrRange) {
		t.Errorf("a read beyond the end: %v", err)
	}
	if _, err := d.WriteAt(make([]byte, 2), -1); !errors.Is(err, ErrRange) {
		t.Errorf("a write before the beginning: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("a flush of a closed disk: %v", err)
	}
	if _, err := d.WriteAt(make([]byte, 2), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("a write to a closed disk: %v", err)
	}
	other, _ := newBase(t, 1<<20)
	other.name = "another"
	o2 := o
	o2.Below = other
	if _, err := Open(o2); !errors.Is(err, ErrOtherBase) {
		t.Errorf("another base: %v", err)
	}
	if _, err := Create(Options{Path: o.Path, Below: o.Below, Size: 1 << 20}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second overlay at the same path: %v", err)
	}
	if _, err := Create(Options{Path: o.Path + "2", Below: o.Below, Size: 1 << 10}); err == nil {
		t.Error("a disk of a quarter of a block")
	}
}
