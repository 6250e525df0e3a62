package controlplane

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestReclaimNames: what earlier versions let any team take goes back, and only that.
func TestReclaimNames(t *testing.T) {
	ctx := t.Context()
	st, err := store.Open(ctx, filepath.Join(t.TempDir(), "shoal.db"))
	must(t, err)
	defer st.Close()
	owner, _, err := FirstTeam(ctx, st, &config.Config{})
	must(t, err)
	squatter := shoal.Team{ID: "1", Slug: "squatter"}
	trusted := shoal.Team{ID: "2", Slug: "trusted", MayPublish: true}
	must(t, errors.Join(st.CreateTeam(ctx, squatter), st.CreateTeam(ctx, trusted)))
	names := map[string]shoal.Team{"code-interpreter-v1": owner, "desktop": squatter, "mcp-gateway": trusted, "web": squatter}
	for name, team := range names {
		must(t, st.CreateTemplate(ctx, shoal.Template{ID: "t-" + name, TeamID: team.ID, Public: true}))
		for _, space := range []string{"", team.Slug} {
			must(t, st.AddAlias(ctx, "t-"+name, shoal.Alias{Namespace: space, Name: name}))
		}
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	must(t, reclaimNames(ctx, st, log))
	must(t, reclaimNames(ctx, st, log)) // has nothing left to do or say
	for name, team := range names {
		_, err := st.TemplateByAlias(ctx, shoal.Alias{Name: name})
		if taken := errors.Is(err, store.ErrNotFound); taken != (name == "desktop") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := st.TemplateByAlias(ctx, shoal.Alias{Namespace: team.Slug, Name: name}); err != nil {
			t.Errorf("%s lost its own name: %v", name, err)
		}
	}
	if !strings.Contains(said.String(), "name=desktop team=squatter template=t-desktop") ||
		strings.Count(said.String(), "\n") != 1 {
		t.Errorf("it said %q", said.String())
	}
}

// TestFirstTeamMayPublish: also one that an earlier version made.
func TestFirstTeamMayPublish(t *testing.T) {
	for _, dev := range []bool{false, true} {
		st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
		must(t, err)
		defer st.Close()
		team, _, err := FirstTeam(t.Context(), st, &config.Config{Dev: dev})
		must(t, err)
		must(t, st.SetMayPublish(t.Context(), team.ID, false))
		again, _, err := FirstTeam(t.Context(), st, &config.Config{Dev: dev})
		must(t, err)
		stored, err := st.Team(t.Context(), team.ID)
		must(t, err)
		if !team.MayPublish || !again.MayPublish || !stored.MayPublish {
			t.Errorf("dev %v: %+v %+v %+v", dev, team, again, stored)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
