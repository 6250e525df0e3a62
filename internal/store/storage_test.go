package store

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"shoal/internal/shoal"
)

// sized is a ready build of a template with images of the given sizes by digest.
func sized(id, template string, snapshot int64, images ...any) shoal.Build {
	b := makeBuild(id, start)
	b.TemplateID, b.ImageDigest, b.Size = template, "", &shoal.BuildSize{Snapshot: snapshot}
	for i := 0; i < len(images); i += 2 {
		b.Layers = append(b.Layers, images[i].(string))
		b.Size.Images = append(b.Size.Images, int64(images[i+1].(int)))
	}
	return b
}

// TestStoredBytes: what builds share counts once, what others keep anyway does not count, and
// neither does what is deleted or has failed.
func TestStoredBytes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		alpha, beta := makeTeam(t, s, "alpha"), makeTeam(t, s, "beta")
		wants := func(what string, team shoal.Team, want int64) {
			t.Helper()
			if got, err := s.StoredBytes(ctx, team.ID); err != nil || got != want {
				t.Errorf("%s: %d, %v, want %d", what, got, err, want)
			}
		}
		add := func(b shoal.Build) {
			t.Helper()
			if err := s.AddBuild(ctx, b, b.ID); err != nil {
				t.Fatal(err)
			}
		}
		wants("nothing", alpha, 0)
		base := sized("b-base", shoal.BaseTemplateID, 0, "base", 1000)
		if err := s.UpsertBase(ctx, base, beta.ID); err != nil {
			t.Fatal(err)
		}
		for id, team := range map[string]shoal.Team{"mine": alpha, "other": alpha, "theirs": beta} {
			tpl := shoal.Template{ID: id, TeamID: team.ID, Public: id == "theirs", CreatedAt: start, UpdatedAt: start}
			if err := s.CreateTemplate(ctx, tpl); err != nil {
				t.Fatal(err)
			}
		}
		wants("the base template", beta, 0)
		add(sized("theirs1", "theirs", 0, "base", 1000, "public", 500))
		wants("the team that published", beta, 500)
		add(sized("mine1", "mine", 7, "base", 1000, "own", 10))
		wants("memory and an image", alpha, 17)
		add(sized("mine2", "mine", 0, "base", 1000, "own", 10, "more", 20))
		add(sized("other1", "other", 3, "base", 1000, "public", 500, "last", 1))
		wants("shared images", alpha, 41)
		unknown := makeBuild("unmeasured", start)
		unknown.TemplateID = "mine"
		add(unknown)
		failed := sized("failed", "mine", 100000, "bad", 100000)
		failed.Status = shoal.BuildError
		add(failed)
		wants("unmeasured and failed builds", alpha, 41)

		unknown.Size = &shoal.BuildSize{Snapshot: 100, Images: []int64{200}}
		for range 2 { // the first that says so is believed
			if err := s.MeasureBuild(ctx, unknown); err != nil {
				t.Fatal(err)
			}
			unknown.Size.Snapshot = 5000
		}
		wants("measured later", alpha, 341)
		if err := s.MeasureBuild(ctx, sized("nobody", "mine", 1, "x", 1)); err != nil {
			t.Errorf("an unknown build: %v", err)
		}

		if err := s.SetPublic(ctx, "theirs", false, start); err != nil {
			t.Fatal(err)
		}
		wants("a template that is public no more", alpha, 841)
		if _, err := s.DeleteTemplate(ctx, "mine", "gone", start); err != nil {
			t.Fatal(err)
		}
		wants("a deleted template", alpha, 504)
		if err := s.RetireBuild(ctx, "other1", "old", start); err != nil {
			t.Fatal(err)
		}
		wants("a retired build", alpha, 0)
	})
}

// TestSnapshotsAreMeasured: also those that take the place of another, which counts no more.
func TestSnapshotsAreMeasured(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha")
		tpl := shoal.Template{ID: "shot", TeamID: team.ID, Source: shoal.SourceSnapshot, CreatedAt: start}
		for i := range 3 {
			b := sized(fmt.Sprint("s", i), "shot", int64(10+i), "image", 100)
			b.CreatedAt = start.Add(time.Duration(i) * time.Second)
			if _, err := s.SaveSnapshot(t.Context(), tpl, b, "default"); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.StoredBytes(t.Context(), team.ID); err != nil || got != 112 {
			t.Errorf("%d, %v", got, err)
		}
	})
}

// TestStorageOfAnEarlierVersion: its teams get the default, and its builds count once a
// machine has said what they take.
func TestStorageOfAnEarlierVersion(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		makeVersion(t, location, 6)
		damage(t, location, `
			INSERT INTO teams (id, name, slug, concurrent_sandboxes, max_length_hours, max_cpu, max_memory_mb,
			                   concurrent_builds, disk_mb, created_at) VALUES ('old', 'old', 'old', 1, 1, 1, 1, 1, 1, 1);
			INSERT INTO templates (id, team_id, created_at, updated_at) VALUES ('t1', 'old', 1, 1);
			INSERT INTO builds (id, template_id, status, cpu_count, memory_mb, disk_mb, created_at, updated_at)
			VALUES ('b1', 't1', 'ready', 1, 1, 1, 1, 1)`)
		s := openStore(t, location)
		team, err := s.Team(ctx, "old")
		if want := shoal.DefaultTeamLimits().StorageGB; err != nil || team.Limits.StorageGB != want {
			t.Errorf("limit %d, %v, want %d", team.Limits.StorageGB, err, want)
		}
		if got, err := s.StoredBytes(ctx, "old"); err != nil || got != 0 {
			t.Errorf("before: %d, %v", got, err)
		}
		if err := s.MeasureBuild(ctx, sized("b1", "t1", 5, "image", 6)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.StoredBytes(ctx, "old"); err != nil || got != 11 {
			t.Errorf("after: %d, %v", got, err)
		}
	})
}

// makeVersion makes a database with the schema of an earlier version.
func makeVersion(t *testing.T, location string, version int64) {
	t.Helper()
	eng, err := openEngine(location)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.db.Close()
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(eng.dialect, eng.db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(context.Background(), version); err != nil {
		t.Fatal(err)
	}
}
