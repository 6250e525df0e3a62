package retention

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
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
		must(t, New(st, machines, c.untagged, time.Hour, log).RetireBuilds(t.Context()))
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

// TestTroubleIsLoggedOnce: a machine that refuses fills no log, one that fails by something
// else does say so, and so does the end of all that.
func TestTroubleIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	r := New(nil, nil, 0, 0, slog.New(slog.NewTextHandler(&log, nil)))
	foreign := fmt.Errorf("machine one: %w", shoal.ErrForeignStore.New("they belong to another"))
	for _, err := range []error{nil, foreign, foreign, context.Canceled, foreign, errors.New("something else"), nil, nil} {
		r.report(err)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("logged:\n%s", &log)
	}
	for i, want := range []string{"--adopt", "something else", "again"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("%s does not say %q", lines[i], want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
