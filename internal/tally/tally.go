// Package tally takes from the machines how many sandboxes each team has, and keeps it in the
// store.
package tally

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

const (
	// period is how late a count may come to the store; clients expect it within a minute
	// (runtime.md §6.3).
	period       = 15 * time.Second
	forgetPeriod = time.Hour
)

// Taker takes tallies while Run is running. Several processes may do so on one store.
type Taker struct {
	store *store.Store
	fleet *fleet.Fleet
	log   *slog.Logger

	trouble string // what the last time failed by, "" if it did not
}

// NewTaker returns a Taker.
func NewTaker(st *store.Store, machines *fleet.Fleet, log *slog.Logger) *Taker {
	return &Taker{store: st, fleet: machines, log: log}
}

// Run takes tallies, and forgets old ones, until ctx ends.
func (t *Taker) Run(ctx context.Context) error {
	take, forget := time.NewTicker(period), time.NewTicker(forgetPeriod)
	defer take.Stop()
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-take.C:
			t.report(ctx, t.fleet.TakeTallies(ctx, t.store.AddTallies))
		case <-forget.C:
			t.report(ctx, t.store.ForgetTallies(ctx, time.Now().Add(-shoal.TallyRetention)))
		}
	}
}

// report logs a trouble once: a machine that is away stays so for a while.
func (t *Taker) report(ctx context.Context, err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	if ctx.Err() == nil && trouble != "" && trouble != t.trouble {
		t.log.Warn("cannot take from some machines how many sandboxes teams have", "error", err)
	}
	t.trouble = trouble
}
