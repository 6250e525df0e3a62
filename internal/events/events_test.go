package events

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestCollector: events come from the machines into the store, once, whatever two collectors do,
// and whoever sends them is told.
func TestCollector(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "shoal.db")
	open := func() *store.Store {
		st, err := store.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	st := open()
	err := st.CreateTeam(t.Context(), shoal.Team{ID: "team", Slug: "team", Limits: shoal.DefaultTeamLimits()})
	if err != nil {
		t.Fatal(err)
	}
	node := fleettest.New("n")
	news := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, own := range []*store.Store{st, open()} {
		c := New(own, fleet.New(fleet.Config{Nodes: []shoal.Node{node}}, log), func() { news <- struct{}{} })
		go func() { ended <- c.Run(ctx) }()
	}
	const count = 40
	for n := range count {
		node.Tell(shoal.Event{ID: fmt.Sprint(n), Number: int64(n + 1), Type: shoal.EventUpdated, TeamID: "team",
			SandboxID: "one", Time: time.Now().UTC().Truncate(time.Microsecond), Data: "{}"})
	}
	for deadline := time.Now().Add(20 * time.Second); node.Untaken() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the machine keeps its events")
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	list, err := st.Events(t.Context(), store.EventQuery{TeamID: "team", SandboxID: "one", OldestFirst: true, Limit: 100})
	if err != nil || len(list) != count {
		t.Fatalf("%d events, %v", len(list), err)
	}
	for i, e := range list {
		if e.Number != int64(i+1) {
			t.Errorf("event %d has number %d", i, e.Number)
		}
	}
	if len(news) == 0 {
		t.Error("nobody was told of new events")
	}
}
