// Package audit brings entries of the audit log into the store: in batches, off the way of the
// requests that they tell of, and within bounds.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

const (
	// period is how long an entry waits for others. A kill -9 loses what waits.
	period = time.Second
	// batch is how many entries one transaction stores.
	batch = 500
	// maxWaiting bounds what is in memory while the store is away.
	maxWaiting = 20_000
	// flushTime bounds what Close takes.
	flushTime = 10 * time.Second
)

// Trail takes entries and stores them while Run is running.
type Trail struct {
	store func(context.Context, []shoal.AuditEntry) error
	log   *slog.Logger
	now   func() time.Time
	wake  chan struct{} // holds one token: there is a full batch
	most  int           // maxWaiting; tests take less

	writing sync.Mutex // held while a batch is stored, so that they are stored in order

	mu       sync.Mutex // guards the rest
	waiting  []shoal.AuditEntry
	lost     int64 // entries that gave way since one was stored that says so
	refusals refusals
	uses     uses
}

// New returns a trail that stores entries by a function, all of a batch or none.
func New(store func(context.Context, []shoal.AuditEntry) error, log *slog.Logger) *Trail {
	return &Trail{store: store, log: log, now: time.Now, wake: make(chan struct{}, 1),
		most: maxWaiting, refusals: newRefusals(), uses: newUses()}
}

// Add has an entry stored soon. It never waits.
func (t *Trail) Add(e shoal.AuditEntry) {
	e = e.Clean()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(e)
}

// Refuse is Add for requests whose credentials or rights did not do. The first of a source in a
// minute is stored at once, the others as one entry with their number when the minute is over.
func (t *Trail) Refuse(e shoal.AuditEntry) {
	e = e.Clean()
	t.mu.Lock()
	defer t.mu.Unlock()
	ended, first := t.refusals.count(e, t.now())
	for _, one := range ended {
		t.add(one)
	}
	if first {
		t.add(e)
	}
}

// Use is Add for what happens too often to be told one by one. What is the same in who, what, to
// what and where becomes one entry a minute, with its number.
func (t *Trail) Use(e shoal.AuditEntry) {
	e = e.Clean()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range t.uses.count(e, t.now()) {
		t.add(one)
	}
}

// add is called with t.mu held.
func (t *Trail) add(e shoal.AuditEntry) {
	if e.At.IsZero() {
		e.At = t.now()
	}
	e.ID = shoal.NewAuditID()
	if len(t.waiting) >= t.most {
		t.lost += t.waiting[0].Count
		t.waiting = t.waiting[1:]
	}
	t.waiting = append(t.waiting, e)
	if len(t.waiting) >= batch {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// Run stores entries until ctx ends. What is added after it, such as by requests that a server
// still drains, Close stores.
func (t *Trail) Run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.endMinute(t.now())
		case <-t.wake:
			if failing {
				continue // the store is asked again at the next tick, not for each entry
			}
		}
		err := t.flush(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			t.log.Error("the audit log cannot be written; its entries wait in memory", "error", err)
		}
		failing = err != nil
	}
}

// Close stores what waits.
func (t *Trail) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	t.endMinute(t.now().Add(time.Minute))
	if err := t.flush(ctx); err != nil {
		return fmt.Errorf("write the last entries of the audit log: %w", err)
	}
	return nil
}

// endMinute adds the entries of refusals and uses that were counted in minutes which are over.
func (t *Trail) endMinute(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range append(t.refusals.end(now), t.uses.end(now)...) {
		t.add(e)
	}
}

// flush stores all that waits.
func (t *Trail) flush(ctx context.Context) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	for {
		entries, lost := t.take()
		if len(entries) == 0 {
			return nil
		}
		if err := t.store(ctx, entries); err != nil {
			t.putBack(entries, lost)
			return err
		}
	}
}

// take removes a batch from what waits. The number of lost entries is told first in it.
func (t *Trail) take() (entries []shoal.AuditEntry, lost int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lost = t.lost; lost > 0 {
		entries = append(entries, shoal.AuditEntry{ID: shoal.NewAuditID(), At: t.now(),
			Actor: shoal.Actor{Kind: shoal.ActorShoal}, Operation: shoal.AuditLost, Count: lost})
		t.lost = 0
	}
	n := min(len(t.waiting), batch)
	entries = append(entries, t.waiting[:n]...)
	t.waiting = t.waiting[n:]
	if len(t.waiting) == 0 {
		t.waiting = nil // lets go of what the largest burst took
	}
	return entries, lost
}

// putBack undoes take. What was added meanwhile may leave no room for all of it.
func (t *Trail) putBack(entries []shoal.AuditEntry, lost int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lost > 0 {
		entries, t.lost = entries[1:], t.lost+lost
	}
	all := slices.Concat(entries, t.waiting)
	for len(all) > t.most {
		t.lost += all[0].Count
		all = all[1:]
	}
	t.waiting = all
}
