package fleet

import (
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestKeptBytes: what paused sandboxes take is known when they are paused through the fleet,
// and at the next sync when they are not.
func TestKeptBytes(t *testing.T) {
	ctx := t.Context()
	n := fleettest.New("n1", build)
	f := newFleet(t, n)
	wants := func(what string, team string, want int64) {
		t.Helper()
		if got := f.KeptBytes(team); got != want {
			t.Errorf("%s: %d bytes of %s, want %d", what, got, team, want)
		}
	}
	a, err := f.Place(ctx, spec("alpha"), atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.Place(ctx, spec("alpha"), atOnce(9))
	if err != nil {
		t.Fatal(err)
	}
	wants("running", "alpha", 0)
	n.SetSaveSize(100)
	if err := f.Pause(ctx, n, a, shoal.PauseOptions{Memory: true}); err != nil {
		t.Fatal(err)
	}
	wants("paused", "alpha", 100)
	if _, err := n.Pause(ctx, b.SandboxID, shoal.PauseOptions{Memory: true}); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	wants("paused by itself", "alpha", 200)
	wants("of others", "beta", 0)
	if _, err := f.Resume(ctx, n, a, shoal.ResumeOptions{Timeout: time.Minute}, atOnce(9)); err != nil {
		t.Fatal(err)
	}
	wants("resumed", "alpha", 100)
	f.Forget(ctx, b.SandboxID)
	wants("killed", "alpha", 0)
}
