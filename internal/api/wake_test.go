package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestTrafficIsHeldToTheTeamsLimit: what runs on all machines counts, against what the team may
// have now, and not when the sandbox was made.
func TestTrafficIsHeldToTheTeamsLimit(t *testing.T) {
	w := newWorld(t)
	info, err := w.node.Info(t.Context())
	w.must(err)
	second := fleettest.New("n2", info.Builds...)
	w.serveBy(w.node, second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	put := func(n *fleettest.Node, id string, state shoal.State) {
		n.Put(shoal.Sandbox{State: state, EndAt: time.Now().Add(time.Hour),
			Spec: shoal.Spec{SandboxID: id, TeamID: smallTeam, TeamLimit: 9}})
	}
	put(w.node, "ione", shoal.StateRunning)
	put(w.node, "itwo", shoal.StateRunning)
	put(second, "ithree", shoal.StatePaused)
	put(second, "ifour", shoal.StatePaused)
	w.must(w.fleet.Sync(t.Context()))
	wake := func(id string) error {
		t.Helper()
		ask := shoal.Wake{SandboxID: id, TeamID: smallTeam, TeamLimit: 9, Timeout: time.Minute}
		for deadline := time.Now().Add(10 * time.Second); ; {
			err := second.Wake(t.Context(), ask)
			if !errors.Is(err, shoal.ErrWakerGone) || time.Now().After(deadline) {
				return err
			}
		}
	}
	if err := wake("ithree"); !shoal.ErrConcurrencyLimit.Matches(err) {
		t.Errorf("two run on another machine, of two that may: %v", err)
	}
	w.node.Drop("ione")
	if err := wake("ithree"); err != nil {
		t.Errorf("one has ended: %v", err)
	}
	// The wake-up counts at once.
	if err := wake("ifour"); !shoal.ErrConcurrencyLimit.Matches(err) {
		t.Errorf("the one woken before counts: %v", err)
	}
	w.limits(smallTeam, map[string]int64{"concurrent-sandboxes": 3})
	if err := wake("ifour"); err != nil {
		t.Errorf("the limit was raised: %v", err)
	}
	if sb, err := second.Get(t.Context(), "ifour"); err != nil || sb.State != shoal.StateRunning {
		t.Errorf("%+v, %v", sb, err)
	}
	w.must(w.store.Close())
	put(second, "ifive", shoal.StatePaused)
	if err := wake("ifive"); err != nil {
		t.Errorf("without a database, the limit of the creation counts: %v", err)
	}
}
