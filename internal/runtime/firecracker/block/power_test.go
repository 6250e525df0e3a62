package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

const sector = 512

var errKilled = errors.New("killed")

// platter is a file on a disk with a cache: what was not synced is lost with the power, or not,
// sector by sector.
type platter struct {
	mutex  sync.Mutex
	cached []byte // what reads see
	stable []byte
	dirty  map[int]bool // sectors that differ, perhaps
	left   int          // operations until the process is killed; negative: it is not
	dead   bool
	random *rand.Rand
}

func newPlatter(size int64, random *rand.Rand) *platter {
	return &platter{cached: make([]byte, size), stable: make([]byte, size), dirty: map[int]bool{}, left: -1, random: random}
}

// step counts an operation that changes something, and tells whether it is the last one.
func (p *platter) step() (last bool, err error) {
	if p.dead {
		return false, errKilled
	}
	if p.left == 0 {
		p.dead = true
		return true, nil
	}
	p.left--
	return false, nil
}

func (p *platter) ReadAt(b []byte, off int64) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.dead {
		return 0, errKilled
	}
	return copy(b, p.cached[off:]), nil
}

func (p *platter) WriteAt(b []byte, off int64) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last, err := p.step()
	if err != nil {
		return 0, err
	}
	if last { // it has done a part
		if whole := len(b) / sector; whole > 0 {
			b = b[:p.random.IntN(whole+1)*sector]
		} else if p.random.IntN(2) == 0 {
			b = nil
		}
	}
	p.put(b, off)
	if last {
		return 0, errKilled
	}
	return len(b), nil
}

func (p *platter) put(b []byte, off int64) {
	copy(p.cached[off:], b)
	for s := int(off) / sector; s*sector < int(off)+len(b); s++ {
		p.dirty[s] = true
	}
}

func (p *platter) Punch(off, length int64) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last, err := p.step()
	if err != nil || last {
		return errKilled
	}
	p.put(make([]byte, length), off)
	return nil
}

func (p *platter) Sync() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last, err := p.step()
	if err != nil || last {
		return errKilled
	}
	for s := range p.dirty {
		copy(p.stable[s*sector:(s+1)*sector], p.cached[s*sector:])
	}
	clear(p.dirty)
	return nil
}

func (p *platter) Close() error { return nil }

// losePower leaves of what was not synced some sectors.
func (p *platter) losePower() {
	for s := range p.dirty {
		if p.random.IntN(2) == 0 {
			copy(p.stable[s*sector:(s+1)*sector], p.cached[s*sector:])
		}
	}
	copy(p.cached, p.stable)
	clear(p.dirty)
}

// pattern is a base in memory.
type pattern []byte

func newPattern(size int64) pattern {
	p := make(pattern, size)
	for i := 0; i < len(p); i += 8 {
		if i/Size%5 != 0 { // some blocks are zeros
			binary.LittleEndian.PutUint64(p[i:], uint64(i)*0x9e3779b97f4a7c15|1)
		}
	}
	return p
}

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(p)) {
		n = copy(b, p[off:])
	}
	clear(b[n:])
	return len(b), nil
}
func (p pattern) Size() int64  { return int64(len(p)) }
func (p pattern) Name() string { return "pattern" }
func (p pattern) Zeros(off, length int64) bool {
	if off >= int64(len(p)) {
		return true
	}
	return bytes.Count(p[off:min(off+length, int64(len(p)))], []byte{0}) == int(min(length, int64(len(p))-off))
}

// expectation is what blocks may have: the last of may[b] if nothing goes wrong.
type expectation struct {
	may     [][][]byte // by block: contents, from the last flush on
	pending []int64    // blocks that an operation was changing when it was killed
}

func expect(base Backing, size int64) *expectation {
	x := &expectation{}
	for b := int64(0); b < size/Size; b++ {
		p := make([]byte, Size)
		_, _ = base.ReadAt(p, b*Size)
		x.may = append(x.may, [][]byte{p})
	}
	return x
}

func (x *expectation) flushed() {
	for b := range x.may {
		x.may[b] = x.may[b][len(x.may[b])-1:]
	}
}

// settle takes what a disk has after a crash as what it is to have.
func (x *expectation) settle(t *testing.T, d *Disk, power bool, what string) {
	t.Helper()
	pending := map[int64]bool{}
	for _, b := range x.pending {
		pending[b] = true
	}
	for b := range int64(len(x.may)) {
		have := make([]byte, Size)
		if _, err := d.ReadAt(have, b*Size); err != nil {
			t.Fatalf("%s: block %d: %v", what, b, err)
		}
		may := x.may[b]
		if !power && !pending[b] {
			may = may[len(may)-1:] // completed, so it is there
		}
		if power && len(may) > 1 {
			may = append(may, zeros[:])
		}
		for at := 0; at < Size; at += sector {
			ok := false
			for _, m := range may {
				ok = ok || bytes.Equal(m[at:at+sector], have[at:at+sector])
			}
			if !ok {
				t.Fatalf("%s: block %d at %d has what it never had since the last flush (%d contents)", what, b, at, len(may))
			}
		}
		x.may[b] = [][]byte{have}
	}
	x.pending = nil
}

// change does something to a disk, and keeps what that is to have.
func (x *expectation) change(d *Disk, random *rand.Rand, serial *uint64) error {
	blocks := int64(len(x.may))
	first := random.Int64N(blocks)
	n := min(1+random.Int64N(12), blocks-first)
	var contents []byte
	var err error
	kind := random.IntN(10)
	switch {
	case kind < 2:
		if err := d.Flush(); err != nil {
			return err
		}
		x.flushed()
		return nil
	case kind < 4:
		contents = make([]byte, n*Size)
	default:
		contents = make([]byte, n*Size)
		for i := 0; i < len(contents); i += 8 {
			*serial++
			binary.LittleEndian.PutUint64(contents[i:], *serial<<8|7)
		}
		if kind == 9 {
			clear(contents[:Size])
		}
	}
	for i := range n {
		x.may[first+i] = append(x.may[first+i], contents[i*Size:(i+1)*Size])
		x.pending = append(x.pending, first+i)
	}
	switch kind {
	case 2:
		err = d.Trim(first*Size, n*Size)
	case 3:
		err = d.WriteZeroes(first*Size, n*Size, random.IntN(3) == 0)
	default:
		_, err = d.WriteAt(contents, first*Size)
	}
	if err == nil {
		x.pending = nil
	}
	return err
}

var crashes = flag.Int("crashes", 30, "how often the disk's server is killed")

// TestNothingFlushedIsLost kills the server, or the machine, at every step.
func TestNothingFlushedIsLost(t *testing.T) {
	const size = 600 * Size // several pieces
	base := newPattern(500 * Size)
	recovered := int64(0)
	for round := range *crashes {
		random := rand.New(rand.NewPCG(uint64(round), 19))
		p := newPlatter(dataOffset(size)+size, random)
		boot := [16]byte{1}
		o := Options{Path: "platter", Below: base, Size: size, regionBlocks: pieceBlocks, looks: 2}
		d, err := create(p, o, boot)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil { // so that there is a header, whatever follows
			t.Fatal(err)
		}
		x := expect(base, size)
		var serial uint64
		for crash := range 3 {
			what := fmt.Sprintf("round %d, crash %d", round, crash)
			if d, err = open(p, o, boot); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			recovered += d.Recovered()
			x.settle(t, d, false, what)
			p.left = random.IntN(300)
			for err == nil {
				err = x.change(d, random, &serial)
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("%s: %v", what, err)
			}
			power := random.IntN(2) == 0
			// Some are killed again while they recover.
			for again := random.IntN(3); again >= 0; again-- {
				if power {
					p.losePower()
					boot[0]++
				}
				p.dead, p.left = false, -1
				if again > 0 {
					p.left = random.IntN(6)
				}
				if d, err = open(p, o, boot); err == nil {
					p.left = -1
					break
				}
				if !errors.Is(err, errKilled) {
					t.Fatalf("%s: %v", what, err)
				}
			}
			recovered += d.Recovered()
			x.settle(t, d, power, what)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d rounds of three crashes; %d blocks were half written", *crashes, recovered)
	if recovered == 0 && *crashes > 100 {
		t.Error("no block was ever half written: the crashes test nothing")
	}
}
