package orchestrator

import (
	"bufio"
	"context"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	keepPeriod = time.Second // between looks at demand and memory
	// A machine with less than this part of its memory available is under
	// pressure: nothing is started ahead, and what was gives its memory back.
	pressure = 0.10
	// warmShare is the part of the machine's memory that guests started ahead may
	// be promised, each counted with warmMemory.
	warmShare  = 0.25
	warmMemory = 64 << 20 // bytes
)

// ahead is what should be started ahead of demand.
type ahead struct {
	guests map[string]int // by build
	shells map[shellKey]int
}

// keepWarm starts and ends guests and kernels ahead of demand until ctx ends, one
// at a time and never while a create, a resume or a checkpoint is under way.
func (o *Orchestrator) keepWarm(ctx context.Context) error {
	defer o.shrink(context.Background(), ahead{})
	tick := time.NewTicker(keepPeriod)
	defer tick.Stop()
	failed := map[any]time.Time{} // by build or shellKey
	for ctx.Err() == nil {
		want := o.wantedAhead(ctx)
		o.shrink(ctx, want)
		for what, at := range failed {
			if time.Since(at) < halfLife { // it will hardly go better at once
				delete(want.guests, asBuild(what))
				delete(want.shells, asShell(what))
			}
		}
		if o.starting.Load() == 0 && o.saving.Load() == 0 {
			what, err := o.growOne(ctx, want)
			if err != nil && ctx.Err() == nil {
				failed[what] = time.Now()
				o.log.Warn("a guest could not be started ahead", "of", what, "error", err)
			}
			if what != nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-o.taken:
			o.pauseFilling(ctx)
		}
	}
	return ctx.Err()
}

func asBuild(what any) string {
	id, _ := what.(string)
	return id
}

func asShell(what any) shellKey {
	key, _ := what.(shellKey)
	return key
}

// wantedAhead is nothing while the machine is short of memory.
func (o *Orchestrator) wantedAhead(ctx context.Context) ahead {
	short, err := o.relieve(ctx)
	if err != nil {
		o.log.Warn("memory pressure is not known", "error", err)
	}
	if short {
		return ahead{}
	}
	now := time.Now()
	return ahead{guests: o.wantedWarm(now), shells: o.wantedShells(now)}
}

// shrink ends what is not wanted.
func (o *Orchestrator) shrink(ctx context.Context, want ahead) {
	for _, w := range o.warm.surplus(want.guests) {
		if err := o.stopWarm(ctx, w); err != nil {
			o.log.Warn("something of an unclaimed guest is left", "guest", w.id, "error", err)
		}
	}
	for _, b := range o.shells.surplus(want.shells) {
		if err := o.stopShell(ctx, b); err != nil {
			o.log.Warn("something of an unused kernel is left", "guest", b.id, "error", err)
		}
	}
}

// growOne starts one of the missing; it returns of what, nil if none is missing.
// Kernels come first: every kind of start is quicker with them.
func (o *Orchestrator) growOne(ctx context.Context, want ahead) (what any, err error) {
	if key, ok := o.shells.missing(want.shells); ok {
		b, err := o.startShell(ctx, key)
		if err == nil {
			o.shells.add(b)
		}
		return key, err
	}
	if id, ok := o.warm.missing(want.guests); ok {
		return id, o.fillWarm(ctx, id)
	}
	return nil, nil
}

// pauseFilling lets a burst of creates, and what clients do first with the new
// sandboxes, have the machine before the guests are replaced.
func (o *Orchestrator) pauseFilling(ctx context.Context) {
	const quiet, atMost = 300 * time.Millisecond, 2 * time.Second
	idle, end := time.NewTimer(quiet), time.NewTimer(atMost)
	defer idle.Stop()
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.taken:
			idle.Reset(quiet)
		case <-idle.C:
			return
		case <-end.C:
			return
		}
	}
}

func (o *Orchestrator) fillWarm(ctx context.Context, buildID string) error {
	o.mu.Lock()
	build, ok := o.builds[buildID]
	o.mu.Unlock()
	if !ok {
		return nil
	}
	w, err := o.startWarm(ctx, build)
	if err != nil {
		return err
	}
	o.warm.add(w)
	return nil
}

// wantedWarm is how many guests each build should have ready: the configured
// minimum, or as many as were asked for lately, within the machine's bounds.
func (o *Orchestrator) wantedWarm(now time.Time) map[string]int {
	wanted := map[string]int{}
	scores := o.warm.scores(now)
	o.mu.Lock()
	defer o.mu.Unlock()
	room := min(o.cfg.WarmMax, o.cfg.MaxSandboxes-o.aliveLocked())
	if _, memory, err := machine(); err == nil {
		room = min(room, int(float64(memory)*warmShare/warmMemory))
	}
	for id, build := range o.builds {
		n := 0
		if o.newest[build.TemplateID] == id { // of a template only its present build
			n = o.cfg.WarmMin[build.TemplateID]
		}
		n = max(n, int(math.Round(scores[id])))
		if n = min(n, room); n > 0 {
			wanted[id] = n
			room -= n
		}
	}
	return wanted
}

// wantedShells are kernels for the images that were asked for lately, and for those
// of the templates that guests are kept ready for.
func (o *Orchestrator) wantedShells(now time.Time) map[shellKey]int {
	wanted := map[shellKey]int{}
	if o.cfg.Shells == 0 {
		return wanted
	}
	for _, key := range o.shells.asked(now) {
		wanted[key] = o.cfg.Shells
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for template := range o.cfg.WarmMin {
		build, ok := o.builds[o.newest[template]]
		if root, err := o.rootOf(build); ok && err == nil {
			wanted[shellKey{root: root, resources: build.Resources}] = o.cfg.Shells
		}
	}
	return wanted
}

// relieve gives memory back when the machine is short of it, and tells whether it is.
func (o *Orchestrator) relieve(ctx context.Context) (short bool, err error) {
	available, total, err := o.cfg.Memory()
	if err != nil || float64(available) > pressure*float64(total) {
		return false, err
	}
	o.coolFor(ctx, int64(pressure*float64(total)))
	return true, nil
}

// availableMemory is what the kernel thinks can be had without swapping, in bytes.
func availableMemory() (available, total int64, err error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	values := map[string]int64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.ParseInt(fields[0], 10, 64) // a line without a number is none of ours
			values[name] = n << 10
		}
	}
	if values["MemTotal"] == 0 {
		return 0, 0, errors.New("/proc/meminfo has no MemTotal")
	}
	return values["MemAvailable"], values["MemTotal"], nil
}
