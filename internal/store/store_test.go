package store

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// start is a time that survives storage: whole microseconds, UTC.
var start = time.Date(2026, 8, 1, 10, 0, 0, 123456000, time.UTC)

func makeTeam(t *testing.T, s *Store, slug string) shoal.Team {
	t.Helper()
	team := shoal.Team{ID: "id-" + slug, Name: slug + " name", Slug: slug, Tier: shoal.DefaultTier,
		Limits: shoal.DefaultTeamLimits()}
	if err := s.CreateTeam(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	return team
}

func makeBuild(id string, at time.Time) shoal.Build {
	return shoal.Build{ID: id, TemplateID: "t1", Status: shoal.BuildReady,
		Resources:   shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 10240},
		EnvdVersion: "0.6.13", ImageDigest: "sha256:" + id, DefaultUser: "user", DefaultWorkdir: "/home/user",
		CreatedAt: at, UpdatedAt: at, FinishedAt: at}
}

func TestTeams(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha")
		makeTeam(t, s, "beta")
		if got, err := s.Team(t.Context(), team.ID); err != nil || got != team {
			t.Errorf("got %+v, %v", got, err)
		}
		team.Blocked, team.BlockedReason, team.Banned = true, "unpaid", true
		if err := s.SetStanding(t.Context(), team); err != nil {
			t.Fatal(err)
		}
		if got, err := s.TeamBySlug(t.Context(), "alpha"); err != nil || got != team {
			t.Errorf("got %+v, %v", got, err)
		}
		for _, may := range []bool{true, false} {
			if err := s.SetMayPublish(t.Context(), team.ID, may); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Team(t.Context(), team.ID); err != nil || got.MayPublish != may {
				t.Errorf("got %+v, %v", got, err)
			}
		}
		if teams, err := s.Teams(t.Context()); err != nil || len(teams) != 2 {
			t.Errorf("got %v, %v", teams, err)
		}
		if err := s.CreateTeam(t.Context(), shoal.Team{ID: "other", Slug: "alpha"}); !errors.Is(err, ErrExists) {
			t.Errorf("same slug: %v", err)
		}
		if _, err := s.Team(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown team: %v", err)
		}
		if err := s.SetStanding(t.Context(), shoal.Team{ID: "nobody"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown team: %v", err)
		}
	})
}

func TestKeys(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team, other := makeTeam(t, s, "alpha"), makeTeam(t, s, "beta")
		key := shoal.APIKey{ID: "k1", TeamID: team.ID, Name: "first", Hash: "$sha256$x",
			Mask: shoal.Mask{Prefix: "ab", Suffix: "cdef", Length: 40}, CreatedBy: "somebody",
			Scopes: shoal.ReadSandboxes | shoal.ReadTemplates, CreatedAt: start, ExpiresAt: start.Add(time.Minute)}
		if err := s.CreateKey(ctx, key); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateKey(ctx, shoal.APIKey{ID: "k2", TeamID: other.ID, Hash: key.Hash}); !errors.Is(err, ErrExists) {
			t.Errorf("same hash: %v", err)
		}
		if err := s.CreateKey(ctx, shoal.APIKey{ID: "k3", TeamID: "nobody", Hash: "y"}); err == nil {
			t.Error("a key of a team that does not exist was stored")
		}
		owner, stored, err := s.KeyOwner(ctx, key.Hash)
		if err != nil || owner != team || stored != key {
			t.Errorf("owner %+v, key %+v, %v", owner, stored, err)
		}
		if _, _, err := s.KeyOwner(ctx, "unknown"); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown hash: %v", err)
		}
		later := start.Add(time.Hour)
		for _, at := range []time.Time{later, start} { // an older use must not win
			if err := s.TouchKey(ctx, "k1", at); err != nil {
				t.Fatal(err)
			}
		}
		key.LastUsed, key.Name = later, "second"
		if got, err := s.RenameKey(ctx, team.ID, "k1", "second"); err != nil || got != key {
			t.Errorf("renamed %+v, %v", got, err)
		}
		if _, err := s.RenameKey(ctx, other.ID, "k1", "third"); !errors.Is(err, ErrNotFound) {
			t.Errorf("another team's key: %v", err)
		}
		if keys, err := s.Keys(ctx, team.ID); err != nil || len(keys) != 1 || keys[0] != key {
			t.Errorf("got %+v, %v", keys, err)
		}
		if err := s.DeleteKey(ctx, other.ID, "k1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("another team's key: %v", err)
		}
		if err := s.DeleteKey(ctx, team.ID, "k1"); err != nil {
			t.Error(err)
		}
		if keys, err := s.Keys(ctx, team.ID); err != nil || len(keys) != 0 {
			t.Errorf("got %+v, %v", keys, err)
		}
	})
}

func TestCreateTeamWithKeyIsAllOrNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := shoal.Team{ID: "a", Slug: "a"}
		if err := s.CreateTeamWithKey(t.Context(), team, shoal.APIKey{ID: "k", TeamID: "nobody", Hash: "h"}); err == nil {
			t.Fatal("a key of another team was taken")
		}
		if _, err := s.Team(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the team was kept: %v", err)
		}
		if err := s.CreateTeamWithKey(t.Context(), team, shoal.APIKey{ID: "k", TeamID: "a", Hash: "h"}); err != nil {
			t.Error(err)
		}
	})
}

func TestTemplates(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		for i := range 5 {
			at := start.Add(time.Duration(i/2) * time.Second) // pairs share a time
			tpl := shoal.Template{ID: fmt.Sprintf("t%d", i), TeamID: team.ID, CreatedAt: at, UpdatedAt: at}
			if err := s.CreateTemplate(ctx, tpl); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range []shoal.Alias{{Namespace: "alpha", Name: "web"}, {Name: "api"}} {
			if err := s.AddAlias(ctx, "t1", a); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.AddAlias(ctx, "t2", shoal.Alias{Name: "api"}); !errors.Is(err, ErrExists) {
			t.Errorf("taken name: %v", err)
		}
		if err := s.AddAlias(ctx, "t2", shoal.Alias{Name: "brief"}); err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{ErrNotFound, nil, ErrNotFound} {
			if err := s.RemoveAlias(ctx, []string{"t1", "t2", "t2"}[i], shoal.Alias{Name: "brief"}); !errors.Is(err, want) {
				t.Errorf("remove %d: %v, want %v", i, err, want)
			}
		}
		if err := s.CountSpawns(ctx, "t1", 3, start.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		want := shoal.Template{ID: "t1", TeamID: team.ID, CreatedAt: start, UpdatedAt: start,
			LastSpawnedAt: start.Add(time.Minute), SpawnCount: 3, Source: shoal.SourceTemplate,
			Aliases: []shoal.Alias{{Name: "api"}, {Namespace: "alpha", Name: "web"}}}
		if got, err := s.TemplateByAlias(ctx, shoal.Alias{Namespace: "alpha", Name: "web"}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := s.TemplateByAlias(ctx, shoal.Alias{Name: "web"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("web is not global: %v", err)
		}
		var paged []string
		var after Position
		for {
			page, err := s.TemplatesAfter(ctx, team.ID, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				paged = append(paged, p.ID)
			}
			after = Position{CreatedAt: page[len(page)-1].CreatedAt, ID: page[len(page)-1].ID}
		}
		if want := []string{"t4", "t2", "t3", "t0", "t1"}; !reflect.DeepEqual(paged, want) {
			t.Errorf("pages %v, want %v", paged, want)
		}
		if all, err := s.Templates(ctx, team.ID); err != nil || len(all) != 5 || all[0].ID != "t0" {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}

func TestBuildsAndTags(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		if err := s.CreateTemplate(ctx, shoal.Template{ID: "t1", TeamID: team.ID, CreatedAt: start}); err != nil {
			t.Fatal(err)
		}
		old, failed := makeBuild("b1", start), makeBuild("b2", start.Add(time.Second))
		failed.Status, failed.FinishedAt = shoal.BuildError, time.Time{}
		old.Runtime = shoal.RuntimeWish{Name: "gvisor"}
		for _, b := range []shoal.Build{old, failed} {
			if err := s.AddBuild(ctx, b, "default", "v"+b.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.AddBuild(ctx, old); !errors.Is(err, ErrExists) {
			t.Errorf("same build: %v", err)
		}
		if got, err := s.ReadyBuild(ctx, "t1", "default"); err != nil || !reflect.DeepEqual(got, old) {
			t.Errorf("a failed rebuild displaced the ready build: %+v, %v", got, err)
		}
		if got, err := s.NewestBuild(ctx, "t1", "default"); err != nil || !reflect.DeepEqual(got, failed) {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := s.ReadyBuild(ctx, "t1", "vb2"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a failed build counts as ready: %v", err)
		}
		if _, err := s.Build(ctx, "t2", "b1"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a build of another template: %v", err)
		}
		tags, err := s.Tags(ctx, "t1")
		if err != nil || len(tags) != 3 {
			t.Fatalf("got %+v, %v", tags, err)
		}
		for _, tag := range tags {
			if tag.Tag == "default" && tag.BuildID != "b2" {
				t.Errorf("default is %+v", tag)
			}
		}
		page, err := s.BuildsAfter(ctx, "t1", Position{CreatedAt: failed.CreatedAt, ID: failed.ID}, 10)
		if err != nil || len(page) != 1 || !reflect.DeepEqual(page[0], old) {
			t.Errorf("got %+v, %v", page, err)
		}
		if tpl, err := s.Template(ctx, "t1"); err != nil || tpl.BuildCount != 2 {
			t.Errorf("got %+v, %v", tpl, err)
		}
	})
}

func TestUpsertBase(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		older, newer := makeBuild("old", start), makeBuild("new", start.Add(time.Hour))
		again := older // the machine went back to its older image
		again.CreatedAt = start.Add(2 * time.Hour)
		steps := []struct {
			offer shoal.Build
			want  string
			count int32
		}{{older, "old", 1}, {older, "old", 1}, {newer, "new", 2}, {older, "new", 2}, {newer, "new", 2}, {again, "old", 2}}
		for i, step := range steps {
			if err := s.UpsertBase(ctx, step.offer, team.ID); err != nil {
				t.Fatal(err)
			}
			b, err := s.ReadyBuild(ctx, shoal.BaseTemplateID, shoal.DefaultTag)
			if err != nil || b.ID != step.want {
				t.Errorf("step %d: build %s, want %s (%v)", i, b.ID, step.want, err)
			}
			tpl, err := s.TemplateByAlias(ctx, shoal.Alias{Name: "base"})
			if err != nil || tpl.ID != "base" || !tpl.Public || tpl.TeamID != team.ID || tpl.BuildCount != step.count {
				t.Errorf("step %d: template %+v (%v)", i, tpl, err)
			}
		}
	})
}

// TestConcurrentWriters proves that writers wait for each other.
func TestConcurrentWriters(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		first, second := openStore(t, location), openStore(t, location)
		team := makeTeam(t, first, "alpha")
		var wg sync.WaitGroup
		for i := range 40 {
			s := first
			if i%2 == 1 {
				s = second
			}
			wg.Go(func() {
				err := s.CreateTeamWithKey(t.Context(), shoal.Team{ID: fmt.Sprint("t", i), Slug: fmt.Sprint("s", i)},
					shoal.APIKey{ID: fmt.Sprint("k", i), TeamID: fmt.Sprint("t", i), Hash: fmt.Sprint(i)})
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Team(t.Context(), team.ID); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if teams, err := second.Teams(t.Context()); err != nil || len(teams) != 41 {
			t.Errorf("%d teams, %v", len(teams), err)
		}
	})
}
