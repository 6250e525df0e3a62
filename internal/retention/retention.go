// Package retention removes what is no longer needed: template builds without a tag, events that
// were kept for as long as their team's are, old entries of the audit log, and unused builds, snapshots, images and kernels on
// the machines.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"shoal/internal/auth"
	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// period is how often Run removes what is unused.
const period = 20 * time.Minute

// Retention removes what is unused, periodically while Run is running.
type Retention struct {
	store    *store.Store
	fleet    *fleet.Fleet
	untagged time.Duration
	audit    time.Duration
	log      *slog.Logger
	trouble  string // what the last collection failed by, "" if it did not
}

// New returns a Retention that retires builds which have had no tag for the duration
// untagged. If that is 0, it retires none. Entries of the audit log are kept for the duration audit.
func New(st *store.Store, machines *fleet.Fleet, untagged, audit time.Duration, log *slog.Logger) *Retention {
	return &Retention{store: st, fleet: machines, untagged: untagged, audit: audit, log: log}
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
			r.log.Warn("could not retire builds without a tag", "error", err)
		}
		if err := r.store.DropExpiredEvents(ctx, time.Now()); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("could not remove old events", "error", err)
		}
		if err := r.RemoveAudit(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("could not remove old entries of the audit log", "error", err)
		}
		if err := r.removeSignIns(ctx); err != nil && !errors.Is(err, context.Canceled) {
			r.log.Warn("could not remove sessions that have ended", "error", err)
		}
		_, err := Collect(ctx, r.store, r.fleet, shoal.CollectOptions{})
		r.report(err)
	}
}

// RemoveAudit removes entries of the audit log that are too old, or too many.
func (r *Retention) RemoveAudit(ctx context.Context) error {
	return errors.Join(r.store.DropOldAudit(ctx, time.Now().Add(-r.audit)),
		r.store.TrimAudit(ctx, store.MaxAuditEntries))
}

func (r *Retention) removeSignIns(ctx context.Context) error {
	now := time.Now()
	return r.store.DropSignIns(ctx, now.Add(-auth.SessionTime), now.Add(-auth.SessionIdle), now)
}

// report logs how a collection went, if it went otherwise than the one before: a machine that
// refuses does so until somebody has mended the cause.
func (r *Retention) report(err error) {
	trouble := ""
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		trouble = err.Error()
	}
	if trouble == r.trouble {
		return
	}
	r.trouble = trouble
	if err == nil {
		r.log.Info("unused builds, snapshots, images and kernels are removed again")
		return
	}
	attributes := []any{"error", err}
	if known := (*shoal.Error)(nil); errors.As(err, &known) {
		attributes = append(attributes, "cause", known.Cause, "fix", known.Fix)
	}
	r.log.Warn("could not remove some unused builds, snapshots, images or kernels", attributes...)
}

// Collect removes unused builds, snapshots, images and kernels from every machine, and
// returns how many. If a machine does not answer or does not believe the store, the others
// are still cleaned.
func Collect(
	ctx context.Context, st *store.Store, machines *fleet.Fleet, opts shoal.CollectOptions,
) (shoal.Collected, error) {
	known, err := inventory(ctx, st)
	if err != nil {
		return shoal.Collected{}, err
	}
	return machines.Collect(ctx, known, opts)
}

// inventory reads what the store knows of builds. One that ends meanwhile may be in both
// lists, and then counts as known until the next time.
func inventory(ctx context.Context, st *store.Store) (known shoal.Inventory, err error) {
	if known.Installation, err = st.Installation(ctx); err != nil {
		return known, err
	}
	if known.Builds, err = st.BuildIDs(ctx); err != nil {
		return known, err
	}
	known.Ended, err = st.EndedBuildIDs(ctx)
	return known, err
}

// RetireBuilds retires builds that have no tag and that no sandbox uses, so that the images
// and snapshots of a template's earlier builds can be removed.
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
		r.log.Info("retired a build without a tag", "build", id)
	}
	return nil
}
