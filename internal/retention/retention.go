// Package retention removes what is no longer needed: builds of templates that no tag
// leads to, and what the machines keep that nothing refers to.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// period is how often what is unused is removed.
const period = 20 * time.Minute

// Retention removes from time to time.
type Retention struct {
	store    *store.Store
	fleet    *fleet.Fleet
	untagged time.Duration
	log      *slog.Logger
}

// New removes builds that no tag has led to for as long as untagged, or none of them if
// it is 0.
func New(st *store.Store, machines *fleet.Fleet, untagged time.Duration, log *slog.Logger) *Retention {
	return &Retention{store: st, fleet: machines, untagged: untagged, log: log}
}

// Run removes what is unused until ctx ends.
func (r *Retention) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.RetireBuilds(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("builds without a tag could not be retired", "error", err)
		}
		if _, err := Collect(ctx, r.store, r.fleet); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("some unused builds, snapshots, images or kernels could not be removed", "error", err)
		}
	}
}

// Collect removes on every machine the builds, snapshots, images and kernels that nothing
// refers to, and says what it has removed. A machine that does not answer does not keep
// the others from it.
func Collect(ctx context.Context, st *store.Store, machines *fleet.Fleet) (shoal.Collected, error) {
	known, err := st.BuildIDs(ctx)
	if err != nil {
		return shoal.Collected{}, err
	}
	return machines.Collect(ctx, known)
}

// RetireBuilds gives up builds that no tag leads to any more and no sandbox uses, so
// that rebuilding a template does not keep every earlier memory of it.
func (r *Retention) RetireBuilds(ctx context.Context) error {
	if r.untagged == 0 {
		return nil
	}
	ids, err := r.store.Untagged(ctx, time.Now().Add(-r.untagged))
	if err != nil || len(ids) == 0 {
		return err
	}
	sandboxes, err := r.fleet.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, sb := range sandboxes {
		used[sb.BuildID] = true
	}
	for _, id := range ids {
		if used[id] {
			continue
		}
		reason := fmt.Sprintf("No tag has led to this build for %s, so it was removed. Build the template again.", r.untagged)
		if err := r.store.RetireBuild(ctx, id, reason, time.Now()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		r.log.Info("build without a tag retired", "build", id)
	}
	return nil
}
