// Package fleet keeps track of the machines: which of them answer, which sandbox is on
// which machine, and where the next one goes. The machines' own state is authoritative;
// what is kept here is rebuilt by asking them.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"shoal/internal/shoal"
)

const (
	syncPeriod = 20 * time.Second // while every machine answers
	retryTime  = time.Second      // while one of them does not
	askTimeout = 5 * time.Second  // how long one machine may take to answer a sync or a list
)

// Config configures a fleet.
type Config struct {
	// Nodes are the machines; the list does not change.
	Nodes []shoal.Node
	// OnBuild, if set, is called for each ready build that a machine reports: once per
	// build, and again when its creation time changes.
	OnBuild func(context.Context, shoal.Build) error
	// Places is where several apis agree on how many sandboxes teams have. Nil is for one that has the
	// machines to itself.
	Places Places
	// Catalogue is where they tell each other on which machine sandboxes are; nil is nowhere.
	Catalogue Catalogue
}

// Fleet is the set of machines. It is safe for concurrent use. It notices machines that
// come and go only while Run is running.
type Fleet struct {
	log       *slog.Logger
	members   []*member
	sandboxes *locations
	onBuild   func(context.Context, shoal.Build) error
	places    Places
	catalogue Catalogue
	syncs     *flights
	searches  searches
	connected atomic.Bool
	hurry     chan struct{} // asks Run for a sync soon
}

// New returns a fleet that has not asked its machines for their state yet.
func New(cfg Config, log *slog.Logger) *Fleet {
	f := &Fleet{log: log, sandboxes: newLocations(), onBuild: cfg.OnBuild, hurry: make(chan struct{}, 1),
		places: cfg.Places, catalogue: cfg.Catalogue}
	if f.places == nil {
		f.places = alone{}
	}
	if f.catalogue == nil {
		f.catalogue = alone{}
	}
	f.syncs = newFlights(f.syncAll)
	f.searches.turns = semaphore.NewWeighted(searchesAtOnce)
	for i, node := range cfg.Nodes {
		f.members = append(f.members, newMember(node, fmt.Sprintf("node %d", i+1)))
	}
	return f
}

// Ready reports whether at least one machine is connected.
func (f *Fleet) Ready() bool { return f.connected.Load() }

// Reach returns an error while no machine is connected.
func (f *Fleet) Reach(context.Context) error {
	if !f.Ready() {
		return errors.New("no machine is connected")
	}
	return nil
}

// Run keeps the machines' state up to date until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.syncs.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := true // the timer fires within retryTime
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.hurry:
			if !soon {
				soon = true
				timer.Reset(retryTime)
			}
			continue
		case <-timer.C:
		}
		period := syncPeriod
		if err := f.Sync(ctx); err != nil {
			period = retryTime
		}
		soon = period == retryTime
		timer.Reset(period)
	}
}

// Sync asks every machine for its state and its sandboxes. The error names the machines
// that did not answer; the others are still updated. Calls share syncs (flights.go), and each
// sees what was there when it was made. If ctx ends before, the sync goes on.
func (f *Fleet) Sync(ctx context.Context) error { return f.syncs.wait(ctx) }

// syncAll is one sync; only flights call it.
func (f *Fleet) syncAll(ctx context.Context) error {
	errs := make([]error, len(f.members))
	var g errgroup.Group
	for i, m := range f.members {
		g.Go(func() error {
			errs[i] = f.syncMember(ctx, m)
			return nil
		})
	}
	_ = g.Wait()
	connected := false
	for _, m := range f.members {
		connected = connected || m.view().Connected
	}
	f.connected.Store(connected)
	return errors.Join(errs...)
}

func (f *Fleet) syncMember(asker context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(asker, askTimeout)
	defer cancel()
	info, err := m.node.Info(ctx)
	if err == nil {
		err = f.relist(ctx, m, info.ID)
	}
	if asker.Err() != nil { // the caller gave up, which is not the machine's fault
		return asker.Err()
	}
	if changed := m.update(info, err); changed {
		log := f.log.With("node", m.view().Info.ID, "status", m.view().Info.Status)
		if err != nil {
			log = log.With("error", err)
		}
		log.Info("a machine's status changed")
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.view().Info.ID, err)
	}
	f.killLost(ctx, m)
	f.announce(ctx, m, info.Builds)
	return nil
}

// relist replaces the remembered sandboxes of a machine by its own list. Sandboxes that
// were placed there after the list was requested are kept.
func (f *Fleet) relist(ctx context.Context, m *member, nodeID string) error {
	before, failed := f.placesOn(ctx, nodeID)
	asked := f.sandboxes.mark()
	list, err := m.node.List(ctx)
	if err != nil {
		return err
	}
	f.sandboxes.replace(m, list, asked)
	if failed == nil {
		failed = f.places.ComparePlaces(ctx, nodeID, before, running(list))
	}
	if failed != nil && ctx.Err() == nil { // the machine has answered, and the next sync does it
		f.log.Warn("the places of a machine's sandboxes could not be compared", "node", nodeID, "error", failed)
	}
	return nil
}

// announce passes builds that are new on a machine to OnBuild. If that fails, it is tried
// again at the next sync.
func (f *Fleet) announce(ctx context.Context, m *member, builds []shoal.Build) {
	if f.onBuild == nil {
		return
	}
	for _, b := range builds {
		if b.Status != shoal.BuildReady || m.announced[b.ID].Equal(b.CreatedAt) {
			continue
		}
		if err := f.onBuild(ctx, b); err != nil {
			f.log.Error("could not register a machine's build",
				"build", b.ID, "template", b.TemplateID, "error", err)
			continue
		}
		m.announced[b.ID] = b.CreatedAt
	}
}

// lose records a sandbox that the machine may have created although the call failed, so
// that the next sync kills it.
func (f *Fleet) lose(m *member, sandboxID string) {
	m.addLost(sandboxID)
	select {
	case f.hurry <- struct{}{}:
	default: // a sync is already requested
	}
}

// killLost kills the sandboxes recorded by lose: their start or fork failed without an
// answer, so they may exist on the machine.
func (f *Fleet) killLost(ctx context.Context, m *member) {
	for _, id := range m.takeLost() {
		err := m.node.Kill(ctx, id, shoal.KillOrphaned)
		if err != nil && !shoal.ErrSandboxNotFound.Matches(err) {
			f.log.Warn("could not kill an orphaned sandbox", "sandbox", id, "error", err)
			f.lose(m, id)
			continue
		}
		if f.sandboxes.end(id, m) {
			f.free(ctx, id, true)
		}
	}
}

// Runtimes returns the names of the isolation runtimes that the machines have, sorted. It
// is empty if no machine has ever answered.
func (f *Fleet) Runtimes() []string {
	var names []string
	for _, m := range f.members {
		names = append(names, m.view().Info.Runtimes...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Nodes returns the machines in the order of the configuration.
func (f *Fleet) Nodes() []View {
	views := make([]View, len(f.members))
	for i, m := range f.members {
		views[i] = m.view()
		views[i].Sandboxes = f.sandboxes.of(m)
	}
	return views
}
