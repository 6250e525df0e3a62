package controlplane

import (
	"log/slog"
	"testing"
	"time"

	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
)

// TestBuildsAreMeasured: what a machine says its builds take counts for their teams, also for
// builds that were made before anybody asked for it.
func TestBuildsAreMeasured(t *testing.T) {
	ctx := t.Context()
	cfg := &config.Config{DataDir: t.TempDir(), Dev: true, UploadLimit: 1, BuildSlots: 1}
	st, err := OpenStore(ctx, cfg)
	must(t, err)
	_, _, err = FirstTeam(ctx, st, cfg)
	must(t, err)
	at := time.Unix(1, 0).UTC()
	base := shoal.Build{ID: "b1", TemplateID: shoal.BaseTemplateID, Status: shoal.BuildReady, ImageDigest: "base",
		CreatedAt: at, Size: &shoal.BuildSize{Images: []int64{1000}}}
	own := shoal.Build{ID: "b2", TemplateID: "t", Status: shoal.BuildReady, ImageDigest: "base",
		Layers: []string{"base", "own"}, CreatedAt: at}
	must(t, st.CreateTemplate(ctx, shoal.Template{ID: "t", TeamID: shoal.DevTeamID, CreatedAt: at}))
	must(t, st.AddBuild(ctx, own, shoal.DefaultTag))
	must(t, st.Close())

	own.Size = &shoal.BuildSize{Snapshot: 10, Images: []int64{1000, 200}}
	p, err := Open(ctx, Prepare(ctx, cfg), cfg, config.Secrets{}, []shoal.Node{fleettest.New("n", base, own)}, build.NoEngine{},
		slog.New(slog.DiscardHandler))
	must(t, err)
	defer p.Close()
	if got, err := p.store.StoredBytes(ctx, shoal.DevTeamID); err != nil || got != 210 {
		t.Errorf("%d bytes, %v", got, err)
	}
}

// A machine that cannot start leaves the database that was prepared to nobody.
func TestPreparationIsClosed(t *testing.T) {
	ctx, cfg := t.Context(), &config.Config{DataDir: t.TempDir(), Dev: true, UploadLimit: 1, BuildSlots: 1}
	prepared := Prepare(ctx, cfg)
	must(t, prepared.Close())
	if err := prepared.store.Ping(ctx); err == nil {
		t.Error("the database is open")
	}

	prepared = Prepare(ctx, cfg)
	p, err := Open(ctx, prepared, cfg, config.Secrets{}, nil, build.NoEngine{}, slog.New(slog.DiscardHandler))
	must(t, err)
	defer p.Close()
	must(t, prepared.Close())
	if err := p.store.Ping(ctx); err != nil {
		t.Errorf("the database of an open control plane: %v", err)
	}
}
