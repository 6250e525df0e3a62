package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestHistoryOfEndedSandboxes is found on whichever machine has it, also while another one does
// not answer.
func TestHistoryOfEndedSandboxes(t *testing.T) {
	a, b := fleettest.New("a"), fleettest.New("b")
	b.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: "ended", TeamID: "team"}, State: shoal.StateRunning})
	b.PutMetrics("ended", shoal.Sample{Metrics: shoal.Metrics{Time: time.Now(), CPUCount: 1, MemUsed: 5}})
	b.PutLog("ended", "team", shoal.LogEntry{Time: time.Now(), Level: shoal.LogInfo, Message: "said"})
	b.Drop("ended")
	f := New(Config{Nodes: []shoal.Node{a, b}}, slog.New(slog.DiscardHandler))
	ctx, down := t.Context(), errors.New("down")
	of := func(sandboxID, teamID string) (metrics, lines int, err error) {
		samples, err := f.Metrics(ctx, sandboxID, shoal.MetricsQuery{TeamID: teamID})
		entries, logErr := f.Logs(ctx, sandboxID, teamID, shoal.LogQuery{Limit: 10})
		return len(samples), len(entries), errors.Join(err, logErr)
	}
	for _, is := range []error{nil, down} {
		name := fmt.Sprintf("the other one: %v", is)
		a.SetDown(is)
		if m, l, err := of("ended", "team"); m != 1 || l != 1 || err != nil {
			t.Errorf("%s: %d samples, %d lines, %v", name, m, l, err)
		}
		latest, err := f.LatestMetrics(ctx, "team", []string{"ended"})
		if err != nil || latest["ended"].MemUsed != 5 {
			t.Errorf("%s: %v %v", name, latest, err)
		}
	}
	if _, _, err := of("unknown", "team"); !errors.Is(err, down) {
		t.Errorf("nobody can tell, but it says %v", err)
	}
	if _, err := f.LatestMetrics(ctx, "team", []string{"unknown"}); !errors.Is(err, down) {
		t.Errorf("nobody can tell, but it says %v", err)
	}
	a.SetDown(nil)
	if m, l, err := of("ended", "another"); m != 0 || l != 0 || err != nil {
		t.Errorf("another team: %d samples, %d lines, %v", m, l, err)
	}
}

// TestTakeTallies: each count comes once, again if it could not be kept, and a machine that is
// away keeps nobody's from coming.
func TestTakeTallies(t *testing.T) {
	a, b := fleettest.New("a"), fleettest.New("b")
	at := time.Now().Add(-time.Minute).Truncate(shoal.SamplePeriod)
	first := shoal.Tally{TeamID: "team", NodeID: "a", From: at, Counts: []shoal.Count{{Running: 1}}}
	a.PutTallies(first)
	b.SetDown(errors.New("down"))
	f := New(Config{Nodes: []shoal.Node{a, b}}, slog.New(slog.DiscardHandler))
	var mu sync.Mutex
	var kept []shoal.Tally
	full := errors.New("full")
	take := func(fails error) error {
		kept = nil
		return f.TakeTallies(t.Context(), func(_ context.Context, list []shoal.Tally) error {
			mu.Lock()
			defer mu.Unlock()
			kept = append(kept, list...)
			return fails
		})
	}
	if err := take(full); !errors.Is(err, full) || len(kept) != 1 {
		t.Errorf("%v %v", kept, err)
	}
	if err := take(nil); err == nil || len(kept) != 1 {
		t.Errorf("after a failure: %v %v", kept, err)
	}
	if _ = take(nil); len(kept) != 0 {
		t.Errorf("twice: %v", kept)
	}
	first.Counts = append(first.Counts, shoal.Count{Running: 2})
	a.PutTallies(first)
	b.SetDown(nil)
	b.PutTallies(shoal.Tally{TeamID: "team", NodeID: "b", From: at.Add(-time.Hour), Counts: first.Counts})
	if err := take(nil); err != nil || len(kept) != 2 {
		t.Errorf("what was counted meanwhile: %v %v", kept, err)
	}
}
