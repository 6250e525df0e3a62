package page

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"shoal/internal/atomicfile"
)

// memoryOf makes a memory of so many MiB, of which a third is zeros, as a base and three diffs.
func memoryOf(b *testing.B, mib int) (dir string, file string) {
	b.Helper()
	r, tmp := rand.New(rand.NewPCG(1, 1)), b.TempDir()
	m := mixed(r, mib<<20/Size)
	dir = filepath.Join(tmp, "0")
	keep(b, dir, Dump{File: m.dump(b, filepath.Join(tmp, "d"), nil)})
	for i := range 3 {
		changed := map[int]bool{}
		for range len(m) / Size / 50 {
			p := r.IntN(len(m) / Size)
			m.fill(r, p)
			changed[p] = true
		}
		next := filepath.Join(tmp, fmt.Sprint(i+1))
		keep(b, next, Dump{File: m.dump(b, filepath.Join(tmp, "d"), changed), Parent: dir})
		dir = next
	}
	return dir, m.dump(b, filepath.Join(tmp, "whole"), nil)
}

// needs are the pages that a guest reads when it is restored: a fifth of its memory, in runs that
// lie anywhere, in the order of their need.
func needs(pages int) (touch []run32) {
	r := rand.New(rand.NewPCG(2, 2))
	for sum := 0; sum < pages/5; {
		n := 1 + r.IntN(40)
		touch = append(touch, run32{uint32(r.IntN(pages - n)), uint32(n)})
		sum += n
	}
	return touch
}

// BenchmarkFaults is single pages at random, of which none is near another: faults a second.
func BenchmarkFaults(b *testing.B) {
	needsUserfault(b)
	dir, file := memoryOf(b, 256)
	pages := 256 << 20 / Size
	var touch []run32
	for _, p := range rand.New(rand.NewPCG(3, 3)).Perm(pages / zerosAhead) {
		touch = append(touch, run32{uint32(p * zerosAhead), 1})
	}
	for name, mapped := range map[string]bool{"served": false, "mapped": true} {
		b.Run(name, func(b *testing.B) {
			var sum time.Duration
			for b.Loop() {
				sum += restore(b, dir, plan{Expected: file, Touch: touch, Mapped: mapped}, nil)
			}
			b.ReportMetric(float64(len(touch)*b.N)/sum.Seconds(), "faults/s")
		})
	}
}

// BenchmarkRestore is the time until a guest of 512 MiB has read what it needs, besides the
// start of its process.
func BenchmarkRestore(b *testing.B) {
	needsUserfault(b)
	dir, file := memoryOf(b, 512)
	touch := needs(512 << 20 / Size)
	p := plan{Expected: file, Touch: touch}
	s := start(b, dir, p, Options{})
	s.do("touch")
	set := s.server.Recorded()
	b.Logf("%d pages are needed, %d recorded, %+v", count(touch), set.Pages(), s.server.Stats())
	_ = s.cmd.Process.Kill()
	for _, c := range []struct {
		name   string
		mapped bool
		set    *WorkingSet
	}{{"mapped", true, nil}, {"served", false, nil}, {"recorded", false, set}} {
		b.Run(c.name, func(b *testing.B) {
			q := p
			q.Mapped = c.mapped
			var all []time.Duration
			for b.Loop() {
				all = append(all, restore(b, dir, q, c.set))
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms/restore")
			b.ReportMetric(float64(all[0].Microseconds())/1000, "ms-best")
		})
	}
}

func count(touch []run32) (n int) {
	for _, r := range touch {
		n += int(r.Count)
	}
	return n
}

// restore is one guest that touches what its plan says.
func restore(b *testing.B, dir string, p plan, set *WorkingSet) time.Duration {
	if p.Mapped {
		fi, err := os.Stat(p.Expected)
		if err != nil {
			b.Fatal(err)
		}
		p.Bytes = int(fi.Size())
		s := &served{t: b}
		s.spawn(p)
		s.line("ready")
		took := s.do("touch")
		_ = s.cmd.Process.Kill()
		return took
	}
	s := start(b, dir, p, Options{WorkingSet: set})
	took := s.do("touch")
	if os.Getenv("SHOAL_TEST_STATS") != "" {
		b.Logf("%v %+v", took, s.server.Stats())
	}
	_ = s.cmd.Process.Kill()
	return took
}

// BenchmarkKeep is a full memory of 512 MiB, and a difference of 32 MiB to it, made layers.
func BenchmarkKeep(b *testing.B) {
	r, tmp := rand.New(rand.NewPCG(1, 1)), b.TempDir()
	m := mixed(r, 512<<20/Size)
	whole := m.dump(b, filepath.Join(tmp, "whole"), nil)
	base := filepath.Join(tmp, "base")
	keep(b, base, Dump{File: whole})
	changed := map[int]bool{}
	for i := range 32 << 20 / Size {
		changed[i*7] = true
	}
	for _, c := range []struct {
		name, parent string
		changed      map[int]bool
		move         bool
	}{{"full", "", nil, false}, {"full-moved", "", nil, true}, {"diff", base, changed, false}, {"diff-moved", base, changed, true}} {
		b.Run(c.name, func(b *testing.B) {
			var sum time.Duration
			i := 0
			for b.Loop() {
				b.StopTimer()
				dir := filepath.Join(tmp, fmt.Sprint(c.name, i))
				i++
				if err := os.Mkdir(dir, 0o700); err != nil {
					b.Fatal(err)
				}
				file := m.dump(b, filepath.Join(tmp, "d"), c.changed)
				b.StartTimer()
				begin := time.Now()
				if _, err := Keep(context.Background(), dir, Dump{File: file, Parent: c.parent, Move: c.move,
					Durability: atomicfile.Volatile}); err != nil {
					b.Fatal(err)
				}
				sum += time.Since(begin)
				b.StopTimer()
				_ = os.RemoveAll(dir)
				b.StartTimer()
			}
			b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms/keep")
		})
	}
}

// BenchmarkOpen is a memory of 512 MiB and four layers.
func BenchmarkOpen(b *testing.B) {
	dir, _ := memoryOf(b, 512)
	for b.Loop() {
		m, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
