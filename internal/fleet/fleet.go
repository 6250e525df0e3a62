// Package fleet knows the machines: which of them live, which sandbox is where,
// and where the next one goes. The machines own the truth; what is kept here can
// be rebuilt by asking them.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

const (
	syncPeriod = 20 * time.Second // while every machine answers
	retryTime  = time.Second      // while one does not
	askTimeout = 5 * time.Second  // for one machine's answer to a sync or a list
)

// Config is what a fleet is made of.
type Config struct {
	// Nodes are the machines; the list does not change.
	Nodes []shoal.Node
	// OnBuild, if set, is told of each ready build that a machine made by itself,
	// once per build and again when the machine offers it anew.
	OnBuild func(context.Context, shoal.Build) error
}

// Fleet is the machines. It is safe for concurrent use. Run must be running for
// it to notice machines that come and go.
type Fleet struct {
	log       *slog.Logger
	members   []*member
	sandboxes *locations
	onBuild   func(context.Context, shoal.Build) error
	syncing   sync.Mutex // one sync at a time; taken before member.mu and locations.mu
	connected atomic.Bool
	hurry     chan struct{} // asks Run for a sync soon
}

// New returns a fleet that knows nothing yet of its machines' state.
func New(cfg Config, log *slog.Logger) *Fleet {
	f := &Fleet{log: log, sandboxes: newLocations(), onBuild: cfg.OnBuild, hurry: make(chan struct{}, 1)}
	for i, node := range cfg.Nodes {
		f.members = append(f.members, newMember(node, fmt.Sprintf("node %d", i+1)))
	}
	return f
}

// Ready reports whether at least one machine is connected.
func (f *Fleet) Ready() bool { return f.connected.Load() }

// Run follows the machines' state until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := true // the timer ends within retryTime
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

// Sync asks every machine for its state and its sandboxes. The error names the
// machines that did not answer; the others are up to date all the same.
func (f *Fleet) Sync(ctx context.Context) error {
	f.syncing.Lock()
	defer f.syncing.Unlock()
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
		err = f.relist(ctx, m)
	}
	if asker.Err() != nil { // says nothing about the machine
		return asker.Err()
	}
	if changed := m.update(info, err); changed {
		f.log.Info("machine changed", "node", m.view().Info.ID, "status", m.view().Info.Status, "error", err)
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", m.view().Info.ID, err)
	}
	f.killLost(ctx, m)
	f.announce(ctx, m, info.Builds)
	return nil
}

// relist replaces what is known of a machine's sandboxes. What was placed there
// while the list was on its way stays.
func (f *Fleet) relist(ctx context.Context, m *member) error {
	asked := f.sandboxes.mark()
	list, err := m.node.List(ctx)
	if err != nil {
		return err
	}
	f.sandboxes.replace(m, list, asked)
	return nil
}

// announce reports builds that are new on a machine. A failed report is repeated
// at the next sync.
func (f *Fleet) announce(ctx context.Context, m *member, builds []shoal.Build) {
	if f.onBuild == nil {
		return
	}
	for _, b := range builds {
		if b.Status != shoal.BuildReady || m.announced[b.ID].Equal(b.CreatedAt) {
			continue
		}
		if err := f.onBuild(ctx, b); err != nil {
			f.log.Error("a machine's build was not registered", "build", b.ID, "template", b.TemplateID, "error", err)
			continue
		}
		m.announced[b.ID] = b.CreatedAt
	}
}

// lose notes that a machine may or may not have made a sandbox that nobody will ask for.
func (f *Fleet) lose(m *member, sandboxID string) {
	m.addLost(sandboxID)
	select {
	case f.hurry <- struct{}{}:
	default: // somebody has asked already
	}
}

// killLost ends sandboxes whose start or fork failed without an answer, so that the
// machine may or may not have made them.
func (f *Fleet) killLost(ctx context.Context, m *member) {
	for _, id := range m.takeLost() {
		err := m.node.Kill(ctx, id, shoal.KillOrphaned)
		if err != nil && !shoal.ErrSandboxNotFound.Matches(err) {
			f.log.Warn("an orphaned sandbox could not be ended", "sandbox", id, "error", err)
			f.lose(m, id)
			continue
		}
		f.sandboxes.forget(id)
	}
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
