package orchestrator

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// A machine that runs out of memory gives up first what costs least: guests and kernels
// started ahead, then guests that rest, then the largest process of the running sandbox that
// holds most. Left to itself, the host's kernel would end whatever is large, such as a
// guest's kernel, and with it the sandbox.

const (
	// The next three are parts of the machine's memory, one in so many: what counts is whether
	// less than that is available.

	// watchful is when the machine is looked at every closePeriod, else every easyPeriod.
	watchful = 5
	// pressure is when nothing is started ahead, and what was gives its memory back.
	pressure = 10
	// scarcity is when processes end if nothing else is left to give up; at half of that they
	// end in any case.
	scarcity = memoryReserve

	closePeriod = 50 * time.Millisecond
	easyPeriod  = time.Second
	// minGreed is what a guest must hold, in bytes, to be asked for memory. Less is not what
	// the machine suffers from.
	minGreed = 64 << 20
	// sparedTime is how long a guest that gave nothing back is left alone.
	sparedTime = 10 * time.Second
)

// relief watches the machine's memory.
type relief struct {
	cfg     *Config
	log     *slog.Logger
	table   *table
	keeper  *keeper
	pauses  *pauses
	journal journal
	short   chan struct{}        // the machine came under pressure, or is still
	spared  map[string]time.Time // when a sandbox gave nothing back; of watch's goroutine
}

func newRelief(o *Orchestrator) *relief {
	return &relief{cfg: o.cfg, log: o.log, table: o.table, keeper: o.keeper, pauses: o.pauses,
		journal: o.journal, short: make(chan struct{}, 1), spared: map[string]time.Time{}}
}

// Run watches until ctx ends. What rests may have to wait for the disk before it can end, so
// another goroutine sees to that.
func (r *relief) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.watch(ctx) })
	g.Go(func() error { return r.giveUpSpare(ctx) })
	return g.Wait()
}

func (r *relief) watch(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
			next.Reset(r.look(ctx))
		}
	}
}

// look acts on how much memory there is, and tells when to look again.
func (r *relief) look(ctx context.Context) time.Duration {
	available, total, err := r.cfg.Memory()
	if err != nil {
		r.log.Warn("it is not known how much memory the machine has left", "error", err)
		return easyPeriod
	}
	if underPressure(available, total) {
		select {
		case r.short <- struct{}{}:
		default: // it knows
		}
	}
	if available < total/(2*scarcity) || (available < total/scarcity && !r.hasSpare()) {
		r.endGreediest(ctx)
	}
	if available < total/watchful {
		return closePeriod
	}
	return easyPeriod
}

func underPressure(available, total int64) bool { return available < total/pressure }

// giveUpSpare ends what no sandbox runs in, whenever the machine is under pressure.
func (r *relief) giveUpSpare(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.short:
		}
		r.keeper.shrink(ctx, wanted{})
		if available, total, err := r.cfg.Memory(); err == nil && underPressure(available, total) {
			r.pauses.coolFor(ctx, total/pressure-available)
		}
	}
}

// hasSpare tells whether there is anything that giveUpSpare could end.
func (r *relief) hasSpare() bool {
	if r.keeper.warm.Size() > 0 || r.keeper.shells.Size() > 0 {
		return true
	}
	for _, sb := range r.table.all() {
		if !sb.resting().IsZero() {
			return true
		}
	}
	return false
}

// endGreediest ends the largest process of the running sandbox that holds most.
func (r *relief) endGreediest(ctx context.Context) {
	sb, own, held := r.greediest(ctx)
	if sb == nil {
		return
	}
	ended, err := own.EndLargest(ctx)
	if err != nil || ended.PID == 0 {
		r.spared[sb.id] = time.Now()
		r.log.Warn("a guest gave no memory back while the machine has hardly any", "sandbox", sb.id,
			"held", held, "error", err)
		return
	}
	if now, err := own.Stats(ctx); err == nil && now.HeldBytes > held-minGreed/4 {
		r.spared[sb.id] = time.Now() // it may hold files in memory, which no process's end removes
	}
	r.log.Warn("the machine has hardly any memory left; the largest process of the greediest guest was ended",
		"sandbox", sb.id, "held", held, "pid", ended.PID, "name", ended.Name, "resident", ended.Bytes)
	r.journal.note(sb, shoal.LogError, "The machine ran out of memory, and the process that used most was ended",
		map[string]any{"pid": ended.PID, "name": ended.Name, "bytes": ended.Bytes})
}

// greediest returns the running sandbox that holds most of the machine's memory, and how many
// bytes; nil if none holds much. Those that gave nothing back lately are skipped.
func (r *relief) greediest(ctx context.Context) (most *sandbox, own *guest.Guest, held int64) {
	maps.DeleteFunc(r.spared, func(_ string, at time.Time) bool { return time.Since(at) > sparedTime })
	held = minGreed
	for _, sb := range r.table.all() {
		if _, spared := r.spared[sb.id]; spared {
			continue
		}
		sb.mu.Lock()
		candidate, running := sb.guest, sb.view.State == shoal.StateRunning && sb.current == nil
		sb.mu.Unlock()
		if !running || candidate == nil {
			continue
		}
		if stats, err := candidate.Stats(ctx); err == nil && stats.HeldBytes > held {
			most, own, held = sb, candidate, stats.HeldBytes
		}
	}
	return most, own, held
}
