package orchestrator

import (
	"context"
	"strings"
	"testing"
	"time"

	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// TestWhileChanging: what a sandbox is doing decides what callers are told (api.md §4.4).
func TestWhileChanging(t *testing.T) {
	n := newNode(t)
	n.orch.cfg.RestTime = longRest
	ctx := context.Background()
	sb := n.create()
	s := n.orch.table.byID[sb.SandboxID]
	network := func() error { return n.orch.SetNetwork(ctx, sb.SandboxID, shoal.Network{}) }
	deadline := func() error {
		_, err := n.orch.SetDeadline(ctx, sb.SandboxID, shoal.DeadlineChange{Timeout: time.Minute})
		return err
	}
	for state, want := range map[shoal.State]string{shoal.StatePausing: "is being paused", shoal.StateSnapshotting: "is being snapshotted", shoal.StateKilling: "is being killed"} {
		ch, _, err := s.begin(ctx, state, func(shoal.State) error { return nil })
		n.must(err)
		for _, err := range []error{network(), deadline()} {
			if !shoal.ErrSandboxState.Matches(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", state, err)
			}
		}
		if view, err := n.orch.Get(ctx, sb.SandboxID); err != nil || view.State != state {
			t.Errorf("%s: %+v %v", state, view, err)
		}
		list, err := n.orch.List(ctx)
		if n.must(err); len(list) != 1 == (state != shoal.StateKilling) {
			t.Errorf("%s: %d are listed", state, len(list))
		}
		s.end(ch, shoal.StateRunning, nil)
	}
	n.pause(sb)
	for _, err := range []error{network(), deadline()} {
		if !shoal.ErrSandboxNotRunning.Matches(err) {
			t.Errorf("paused: %v", err)
		}
	}
	// A start with memory is under way: one without cannot join it.
	ch, _, err := s.begin(ctx, shoal.StateResuming, func(shoal.State) error { return nil })
	n.must(err)
	if _, err := n.orch.Resume(ctx, sb.SandboxID, shoal.ResumeOptions{ColdBoot: true}); !shoal.ErrStartInFlight.Matches(err) {
		t.Errorf("a cold boot joins: %v", err)
	}
	s.end(ch, shoal.StatePaused, nil)
	// A question that wakes nobody.
	s.mu.Lock()
	s.view.Lifecycle.AutoResume = true
	s.mu.Unlock()
	ask := proxy.Request{SandboxID: sb.SandboxID, Port: shoal.EnvdPort, EnvdToken: sb.EnvdAccessToken, Passive: true}
	if _, err := n.orch.Router().Resolve(ctx, ask); !shoal.ErrSandboxNotRunning.Matches(err) || n.state(sb) != shoal.StatePaused {
		t.Errorf("a passive question: %v, then %s", err, n.state(sb))
	}
	ask.Passive = false
	if target, err := n.orch.Router().Resolve(ctx, ask); err != nil || target.ExecutionID == "" {
		t.Errorf("then: %+v %v", target, err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	ch, _, err = s.begin(ctx, shoal.StatePausing, func(shoal.State) error { return nil })
	n.must(err)
	if _, err := n.orch.Router().Resolve(short, ask); !shoal.ErrSandboxState.Matches(err) || !strings.Contains(err.Error(), "still transitioning") {
		t.Errorf("while it changes: %v", err)
	}
	s.end(ch, shoal.StateRunning, nil)
}
