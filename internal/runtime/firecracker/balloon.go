package firecracker

import (
	"context"
	"os"
	"time"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/control"
)

// A guest's memory is the host's again only when a balloon takes it: what a process had that has ended is
// free to the guest, and still resident on the host.

// EndLargest has the guest's first program end the process, and takes the memory back by the balloon. In a
// frozen guest nothing can end.
func (g *guest) EndLargest(ctx context.Context) (runtime.EndedProcess, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	if frozen, err := g.isFrozen(); err != nil || frozen {
		return runtime.EndedProcess{}, err
	}
	before := g.held()
	a, err := g.ask(ctx, control.Request{Largest: &control.Empty{}})
	if err != nil {
		return runtime.EndedProcess{}, g.unlessGone(err)
	}
	if a.Largest == nil || a.Largest.PID == 0 {
		return runtime.EndedProcess{}, nil
	}
	g.takeBack(ctx, before, min(a.Largest.Bytes, g.spec.Resources.MemoryMB<<20))
	return runtime.EndedProcess{PID: a.Largest.PID, Name: a.Largest.Name, Bytes: a.Largest.Bytes}, nil
}

func (g *guest) held() int64 {
	all, clean := g.driver.groups.memoryOf(g.spec.ID)
	return all - clean
}

// Bounds of the wait for a balloon, in parts of the driver's patience: for all, and for more of the memory.
// That makes half a minute, and two seconds.
const (
	takeBackPart = 1.5
	stillPart    = 0.1
)

// aside is what a balloon takes, in MiB, of memory that was free before a process ended, and that the host may
// never have given.
const aside = 32

// balloonMark, beside the root of a jail, means that the balloon may have something of the guest's.
const balloonMark = "balloon"

// takeBack inflates the balloon by what a process had, waits until the host has most of that, and lets the
// guest have it again. It is best effort: a guest without a balloon keeps the memory. The caller holds
// changing, so that no checkpoint has an inflated balloon in it.
func (g *guest) takeBack(ctx context.Context, before, bytes int64) {
	patience := float64(g.driver.opts.Patience)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(patience*takeBackPart))
	defer cancel()
	marks := []string{balloonMark}
	// Firecracker does not count pages that a balloon took as changed. Who serves a guest's memory knows
	// them; of another guest, all of the memory has to be written the next time.
	if !g.jail.Served {
		marks = append(marks, untoldMark)
	}
	for _, mark := range marks {
		if err := os.WriteFile(g.jail.beside(mark), nil, 0o600); err != nil {
			return
		}
	}
	if err := g.api.Inflate(ctx, min(bytes>>20+aside, g.spec.Resources.MemoryMB)); err == nil {
		g.awaitMemory(ctx, before-bytes*3/4, time.Duration(patience*stillPart))
	}
	g.deflate(ctx)
}

// awaitMemory waits until the guest holds no more than so many bytes, or hardly less than before for so long.
func (g *guest) awaitMemory(ctx context.Context, most int64, still time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	least, since := g.held(), time.Now()
	for least > most && time.Since(since) < still {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-g.done:
			return
		}
		if held := g.held(); held < least-1<<20 {
			least, since = held, time.Now()
		}
	}
}

// deflate gives the guest what the balloon has.
func (g *guest) deflate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.driver.opts.Patience)
	defer cancel()
	if err := g.api.Inflate(ctx, 0); err == nil {
		_ = os.Remove(g.jail.beside(balloonMark)) // at worst it is done once more
	}
}
