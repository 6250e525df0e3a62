package fleet

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestServeEvents: the events of every machine are taken in their order, those that could not be
// are given again, and what was taken is forgotten.
func TestServeEvents(t *testing.T) {
	one, two := fleettest.New("n1"), fleettest.New("n2")
	f := New(Config{Nodes: []shoal.Node{one, two}}, slog.New(slog.DiscardHandler))
	one.Tell(shoal.Event{ID: "a1"}, shoal.Event{ID: "a2"})
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan string, 10)
	refused := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		fails := true
		ended <- f.ServeEvents(ctx, func(_ context.Context, events []shoal.Event) error {
			if events[0].ID == "a1" && fails {
				fails = false
				refused <- struct{}{}
				return errors.New("the store is away")
			}
			for _, e := range events {
				taken <- e.ID
			}
			return nil
		})
	}()
	<-refused
	two.Tell(shoal.Event{ID: "b1"})
	want := map[string]bool{"a1": true, "a2": true, "b1": true}
	last := ""
	for range 3 {
		id := <-taken
		if !want[id] || id == "a2" && last == "" {
			t.Errorf("%s was taken after %q", id, last)
		}
		delete(want, id)
		if id[0] == 'a' {
			last = id
		}
	}
	for deadline := time.Now().Add(10 * time.Second); one.Untaken()+two.Untaken() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("machines keep what was taken")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(taken) != 0 {
		t.Errorf("%s was taken twice", <-taken)
	}
}
