package retention

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestRetireBuilds: only builds without a tag and a sandbox are retired, and none if they
// are to be kept forever.
func TestRetireBuilds(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	must(t, err)
	defer st.Close()
	must(t, auth.NewKeys(st).EnsureDev(t.Context()))
	long := time.Now().Add(-100 * time.Hour)
	must(t, st.CreateTemplate(t.Context(), shoal.Template{ID: "t", TeamID: shoal.DevTeamID, CreatedAt: long, UpdatedAt: long}))
	for n, id := range []string{"unused", "used", "tagged"} {
		at := long.Add(time.Duration(n) * time.Hour)
		must(t, st.AddBuild(t.Context(), shoal.Build{ID: id, TemplateID: "t", Status: shoal.BuildReady,
			CreatedAt: at, UpdatedAt: at, FinishedAt: at}, "default"))
	}
	node := fleettest.New("one")
	node.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: "s", TemplateID: "t", BuildID: "used"},
		State: shoal.StateRunning, EndAt: time.Now().Add(time.Hour)})
	log := slog.New(slog.DiscardHandler)
	machines := fleet.New(fleet.Config{Nodes: []shoal.Node{node}}, log)
	must(t, machines.Sync(t.Context()))

	for _, c := range []struct {
		untagged time.Duration
		retired  bool
	}{{0, false}, {200 * time.Hour, false}, {72 * time.Hour, true}} {
		must(t, New(st, machines, c.untagged, log).RetireBuilds(t.Context()))
		for _, id := range []string{"unused", "used", "tagged"} {
			b, err := st.Build(t.Context(), "t", id)
			must(t, err)
			want := shoal.BuildReady
			if c.retired && id == "unused" {
				want = shoal.BuildError
			}
			if b.Status != want {
				t.Errorf("after %s build %s is %s, want %s", c.untagged, id, b.Status, want)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
