package build

import (
	"context"
	"errors"
	"slices"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// WaitingLimit is how long a registered build may wait to be started.
const WaitingLimit = 40 * time.Minute

const (
	lostLimit    = 24 * time.Hour // for a build of another process
	sweepPeriod  = time.Minute
	litterPeriod = time.Hour // between removals of old logs and files
)

// sweep ends builds that no process runs, and removes old logs and files.
func (q *Queue) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepPeriod)
	defer tick.Stop()
	var cleaned time.Time
	for {
		if time.Since(cleaned) >= litterPeriod {
			cleaned = time.Now()
			if err := errors.Join(q.cfg.Logs.Sweep(), q.cfg.Files.Sweep()); err != nil {
				q.log.Warn("old build logs and files could not be removed", "error", err)
			}
		}
		if err := q.endForgotten(ctx, time.Now()); err != nil && ctx.Err() == nil {
			q.log.Warn("forgotten builds could not be ended", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// endForgotten compares the builds in the store with those that run here.
func (q *Queue) endForgotten(ctx context.Context, now time.Time) error {
	here := q.running() // before the store is asked, so that a later start does not seem ended
	ours, err := q.cfg.Store.BuildingOf(ctx, q.cfg.Builder)
	if err != nil {
		return err
	}
	waiting, err := q.cfg.Store.StaleBuilds(ctx, shoal.BuildWaiting, now.Add(-WaitingLimit))
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range here {
		if !slices.Contains(ours, r.job.BuildID) { // another process ended it
			errs = append(errs, r.settle(Failure{Message: MessageCancelled}))
		}
	}
	for _, id := range waiting {
		if err := q.cfg.Store.ExpireBuild(ctx, id, messageWaited, now); !errors.Is(err, store.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, q.endLost(ctx, ours, now))...)
}

// endLost fails builds that the store has as building although nothing runs them: those of
// this builder whose end could not be stored, and those of a process that is gone.
func (q *Queue) endLost(ctx context.Context, ours []string, now time.Time) error {
	ours = slices.DeleteFunc(ours, q.has)
	if len(ours) > 0 {
		// A build that ended since the store was asked must not be ended again.
		still, err := q.cfg.Store.BuildingOf(ctx, q.cfg.Builder)
		if err != nil {
			return err
		}
		ours = slices.DeleteFunc(ours, func(id string) bool { return !slices.Contains(still, id) })
	}
	old, err := q.cfg.Store.StaleBuilds(ctx, shoal.BuildBuilding, now.Add(-lostLimit))
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range append(ours, slices.DeleteFunc(old, q.has)...) {
		errs = append(errs, q.end(ctx, id, Failure{Message: messageLost}))
	}
	return errors.Join(errs...)
}

// running returns the runs that the store has as building.
func (q *Queue) running() []*run {
	q.mu.Lock()
	defer q.mu.Unlock()
	var list []*run
	for _, r := range q.active {
		if r.stored.Load() {
			list = append(list, r)
		}
	}
	return list
}

func (q *Queue) has(buildID string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.active[buildID] != nil
}
