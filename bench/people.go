package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The rows of this group are what people do with new sandboxes, without a pause in which the
// pool could be filled.

const (
	loopBlock  = 20 // creates in a row
	loopBlocks = 3
)

// benchLoop measures creates with a first command, one after the other, and their kills.
func benchLoop(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var first, kills, worked, host times
	cycle := func() error {
		sb, took, err := s.createAndRun(ctx, "true")
		if err != nil {
			return err
		}
		first = append(first, took)
		return kills.time(func() error { return s.kill(ctx, sb) })
	}
	for range loopBlocks {
		err := worked.worked(loopBlock, func() error {
			for range loopBlock {
				if err := cycle(); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for range loopBlock {
			if err := host.time(func() error { return twin.shell(ctx) }); err != nil {
				return err
			}
		}
	}
	b.compare("create to first command, in a row", first, host, ofHost, atMost(75))
	b.compare("kill, in a row", kills, nil, "")
	b.compare("processors' time for both", worked, nil, "")
	return nil
}

const (
	callers    = 4
	rateTime   = 5 * time.Second
	rateRounds = 3
)

// benchRate counts how many sandboxes a few callers can make and end, and how many shells on
// the host.
func benchRate(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var ours, host []float64
	for range rateRounds {
		n, err := perSecond(callers, rateTime, func() error {
			sb, err := s.create(ctx)
			if err != nil {
				return err
			}
			return s.kill(ctx, sb)
		})
		if err != nil {
			return err
		}
		ours = append(ours, n)
		if n, err = perSecond(callers, rateTime/4, func() error { return twin.shell(ctx) }); err != nil {
			return err
		}
		host = append(host, n)
	}
	f := figure{Name: fmt.Sprintf("creates and kills, %d callers", callers), Unit: "/s", Ours: middle(ours),
		Anchor: middle(host), Of: ofHost, Samples: ours, AnchorSamples: host}
	f.Ratio = f.Ours / f.Anchor
	b.add(f, rateAtLeast(20))
	return nil
}

// perSecond is how often a number of callers together can do something for some time.
func perSecond(callers int, d time.Duration, do func() error) (float64, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begin := time.Now()
	for range callers {
		all.Go(func() {
			for time.Since(begin) < d && failed.Load() == nil {
				if err := do(); err != nil {
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(begin).Seconds(), nil
}

const (
	resumes     = 40
	resumeBlock = 10
)

// benchResumes measures resumes from disk, one after the other.
func benchResumes(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var paused boxes
	defer func() { _ = s.killAll(context.WithoutCancel(ctx), paused) }()
	for range resumes {
		sb, err := s.create(ctx)
		if err != nil {
			return err
		}
		paused = append(paused, sb)
		guest, err := s.guestOf(sb)
		if err != nil {
			return err
		}
		if err := s.pause(ctx, sb); err != nil {
			return err
		}
		if err := s.awaitEnd(ctx, guest); err != nil {
			return err
		}
	}
	if err := rest(ctx, 3*time.Second); err != nil { // the kernels ahead are replaced
		return err
	}
	var back, host times
	for block := range slices.Chunk(paused, resumeBlock) {
		for _, sb := range block {
			if err := back.time(func() error { return s.connect(ctx, sb) }); err != nil {
				return err
			}
		}
		for range block {
			if err := host.time(func() error { return twin.shell(ctx) }); err != nil {
				return err
			}
		}
	}
	b.compare(fmt.Sprintf("resume from disk, %d in a row", resumes), back, host, ofHost, atMost(100))
	return nil
}

// smallPrograms is what agents begin with: a dozen small programs, and Node.
const smallPrograms = `set -e
cd "$(mktemp -d)"
date > stamp
seq 1 200 > numbers
sort -rn numbers | head -n 5 > top
grep -c 7 numbers
sed s/1/one/ top
awk '{ sum += $1 } END { print sum }' numbers
cp numbers copy
wc -l copy
ls -l
rm stamp copy
node -v`

// benchScript measures creates with a script as the first command, and the script in new
// namespaces of the host, in turns.
func benchScript(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var ours, host times
	for n := range b.Rounds + 1 {
		sb, took, err := s.createAndRun(ctx, smallPrograms)
		if err != nil {
			return err
		}
		if err := s.kill(ctx, sb); err != nil {
			return err
		}
		begin := time.Now()
		if _, err := twin.run(ctx, smallPrograms); err != nil {
			return err
		}
		if n > 0 { // the first of each reads the programs
			ours, host = append(ours, took), append(host, time.Since(begin))
		}
	}
	b.compare("create and a dozen programs and node -v", ours, host, ofTwin, atMost(160))
	return nil
}

const (
	crowd       = 40
	crowdRounds = 3
)

// benchScripts does the same in many at once.
func benchScripts(ctx context.Context, b *bench, s *server) error {
	twin, err := b.againstHost(ctx, s)
	if err != nil {
		return err
	}
	var ours, host times
	for range crowdRounds {
		made, took, err := s.createAtOnce(ctx, crowd, smallPrograms)
		if err != nil {
			return err
		}
		ours = append(ours, took...)
		if err := s.killAll(ctx, made); err != nil {
			return err
		}
		took, err = atOnce(crowd, func(int) error {
			_, err := twin.run(ctx, smallPrograms)
			return err
		})
		if err != nil {
			return err
		}
		host = append(host, took...)
	}
	b.compare(fmt.Sprintf("the same, %d at once", crowd), ours, host, ofTwin, atMost(3000))
	return nil
}
