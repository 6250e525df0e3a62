package webhook

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestSwitchedOff: while webhooks are off, or nobody can tell, deliveries wait; then they are made in
// their order.
func TestSwitchedOff(t *testing.T) {
	w := newWorld(t)
	var looks, on atomic.Int64
	w.off = func(_ context.Context, teamID string) (bool, error) {
		if teamID != team {
			t.Errorf("asked for %q", teamID)
		}
		n := looks.Add(1)
		if on.Load() == 0 && n%3 == 0 {
			return false, errors.New("the store is away")
		}
		return on.Load() == 0, nil
	}
	got, target := receive(t, nil)
	h := w.hook(target)
	w.happen("s", 3)
	w.send(w.store, "127.0.0.0/8")
	for deadline := time.Now().Add(20 * time.Second); looks.Load() < 7; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not looked again whether webhooks are on")
		}
	}
	if n := got.numbers("s"); len(n) != 0 {
		t.Errorf("sent %v", n)
	}
	on.Store(1)
	w.settled(h, shoal.DeliveryDelivered, 3)
	if n := got.numbers("s"); len(n) != 3 || n[0] != 1 || n[2] != 3 {
		t.Errorf("sent %v", n)
	}
}
