// Package events takes the events of sandboxes from their machines into the store.
package events

import (
	"context"
	"fmt"

	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// Collector takes events while Run is running. Two of them on one store take each event once.
type Collector struct {
	store *store.Store
	fleet *fleet.Fleet
	news  func()
}

// New returns a collector. It calls news when there are new events in the store.
func New(st *store.Store, machines *fleet.Fleet, news func()) *Collector {
	return &Collector{store: st, fleet: machines, news: news}
}

// Run takes events until ctx ends.
func (c *Collector) Run(ctx context.Context) error { return c.fleet.ServeEvents(ctx, c.take) }

func (c *Collector) take(ctx context.Context, events []shoal.Event) error {
	added, err := c.store.AddEvents(ctx, events)
	if err != nil {
		return fmt.Errorf("store %d events: %w", len(events), err)
	}
	if added > 0 {
		c.news()
	}
	return nil
}
