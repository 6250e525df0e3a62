package orchestrator

import (
	"context"
	"log/slog"
	"math"
	"time"

	"shoal/internal/ahead"
	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
)

const (
	keepPeriod = time.Second // between looks at demand and memory
	// warmShare is the part of the machine's memory that guests started ahead may
	// be promised, each counted with warmMemory.
	warmShare  = 0.25
	warmMemory = 64 << 20 // bytes
)

// keeper starts and ends guests and kernels ahead of demand. One goroutine runs it; others
// take from its pools.
type keeper struct {
	cfg    *Config
	log    *slog.Logger
	host   *guest.Host
	builds *builds
	table  *table
	warm   *ahead.Pool[string, *warmGuest] // by build ID
	shells *ahead.Pool[shellKey, *guest.Guest]
	taken  chan struct{} // something started ahead was asked for

	openEgress network.Egress // of a sandbox that asks for no restriction
	// isBusy tells whether a create, a resume or a checkpoint is under way, or a workbench is
	// being opened.
	isBusy func() bool
}

// wanted is what should be started ahead of demand.
type wanted struct {
	warm   map[string]int // by build
	shells map[shellKey]int
}

// Run starts and ends guests and kernels ahead of demand until ctx ends, one
// at a time and never while the machine isBusy.
func (k *keeper) Run(ctx context.Context) error {
	defer k.shrink(context.Background(), wanted{})
	tick := time.NewTicker(keepPeriod)
	defer tick.Stop()
	failed := failures{warm: map[string]time.Time{}, shells: map[shellKey]time.Time{}}
	for ctx.Err() == nil {
		want := k.want()
		k.shrink(ctx, want)
		failed.strike(want)
		if !k.isBusy() && k.growOne(ctx, want, failed) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-k.taken:
			k.awaitQuiet(ctx)
		}
	}
	return ctx.Err()
}

// failures holds the time of the last failed start of each kind.
type failures struct {
	warm   map[string]time.Time
	shells map[shellKey]time.Time
}

// strike removes from want what has failed lately: an immediate retry would probably fail too.
func (f failures) strike(want wanted) {
	for id, at := range f.warm {
		if time.Since(at) < ahead.HalfLife {
			delete(want.warm, id)
		}
	}
	for key, at := range f.shells {
		if time.Since(at) < ahead.HalfLife {
			delete(want.shells, key)
		}
	}
}

// want is nothing while the machine is short of memory.
func (k *keeper) want() wanted {
	available, total, err := k.cfg.Memory()
	if err != nil {
		total = math.MaxInt64 // without a bound; relief.go says that it is not known
	} else if underPressure(available, total) {
		return wanted{}
	}
	now := time.Now()
	return wanted{warm: k.wantWarm(now, total), shells: k.wantShells(now)}
}

// wantWarm is how many guests each build should have ready: the configured
// minimum, or as many as were asked for lately, within the bounds of a machine with so many
// bytes of memory.
func (k *keeper) wantWarm(now time.Time, memory int64) map[string]int {
	want := map[string]int{}
	scores := k.warm.Demand(now)
	room := min(k.cfg.WarmMax, k.cfg.MaxSandboxes-k.table.alive(), int(float64(memory)*warmShare/warmMemory))
	for _, build := range k.builds.all() {
		n := 0
		if present, ok := k.builds.present(build.TemplateID); ok && present.ID == build.ID {
			n = k.cfg.WarmMin[build.TemplateID]
		}
		n = max(n, int(math.Round(scores[build.ID])))
		if n = min(n, room); n > 0 {
			want[build.ID] = n
			room -= n
		}
	}
	return want
}

// wantShells are kernels for the images that were asked for lately, and for those
// of the templates that guests are kept ready for.
func (k *keeper) wantShells(now time.Time) map[shellKey]int {
	want := map[shellKey]int{}
	if k.cfg.Shells == 0 {
		return want
	}
	for key := range k.shells.Demand(now) {
		want[key] = k.cfg.Shells
	}
	for template := range k.cfg.WarmMin {
		build, ok := k.builds.present(template)
		if !ok {
			continue
		}
		root, err := k.builds.root(build)
		if err != nil {
			continue
		}
		from := guest.Source{Root: root, Runtime: build.Runtime}
		if key, ok := shellFor(k.host.Runtimes(), from, build.Resources); ok {
			want[key] = k.cfg.Shells
		}
	}
	return want
}

// shrink ends what is not wanted.
func (k *keeper) shrink(ctx context.Context, want wanted) {
	for _, w := range k.warm.Surplus(want.warm) {
		if err := w.Stop(ctx); err != nil {
			k.log.Warn("a guest that nobody claimed has left something behind", "guest", w.ID(), "error", err)
		}
	}
	for _, shell := range k.shells.Surplus(want.shells) {
		if err := shell.Stop(ctx); err != nil {
			k.log.Warn("a kernel that nobody used has left something behind", "guest", shell.ID(), "error", err)
		}
	}
}

// growOne starts one of the missing, and tells whether any was missing. Kernels come
// first: every kind of start is quicker with them.
func (k *keeper) growOne(ctx context.Context, want wanted, failed failures) bool {
	if key, ok := k.shells.Missing(want.shells); ok {
		shell, err := k.startShell(ctx, key)
		if err == nil {
			k.shells.Add(key, shell)
		} else if ctx.Err() == nil {
			failed.shells[key] = time.Now()
			k.log.Warn("a kernel could not be started ahead", "root", key.root, "error", err)
		}
		return true
	}
	id, ok := k.warm.Missing(want.warm)
	if !ok {
		return false
	}
	build, ok := k.builds.get(id)
	if !ok {
		return true // removed meanwhile
	}
	w, err := k.startWarm(ctx, build)
	if err == nil {
		k.warm.Add(id, w)
	} else if _, there := k.builds.get(id); there && ctx.Err() == nil {
		failed.warm[id] = time.Now()
		k.log.Warn("a guest could not be started ahead", "build", id, "error", err)
	}
	return true
}

// awaitQuiet lets a burst of creates, and what clients do first with the new
// sandboxes, have the machine before the guests are replaced.
func (k *keeper) awaitQuiet(ctx context.Context) {
	const quiet, atMost = 300 * time.Millisecond, 2 * time.Second
	idle, end := time.NewTimer(quiet), time.NewTimer(atMost)
	defer idle.Stop()
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.taken:
			idle.Reset(quiet)
		case <-idle.C:
			return
		case <-end.C:
			return
		}
	}
}

// newKeeper makes a keeper with empty pools. isBusy is to be set before Run.
func newKeeper(cfg *Config, host *guest.Host, builds *builds, table *table, log *slog.Logger) *keeper {
	taken := make(chan struct{}, 1)
	open, err := network.ParsePolicy(shoal.Network{})
	if err != nil {
		panic(err) // the empty policy is a policy
	}
	return &keeper{cfg: cfg, log: log, host: host, builds: builds, table: table, taken: taken, openEgress: open,
		warm: ahead.NewPool[string, *warmGuest](taken), shells: ahead.NewPool[shellKey, *guest.Guest](taken)}
}
