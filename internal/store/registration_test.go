package store

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// registration asks for a build of the team's template "web".
func registration(team shoal.Team, id string, at time.Time, tags ...string) Registration {
	b := makeBuild(id, at)
	b.TemplateID, b.Status, b.FinishedAt = "", "", time.Time{}
	return Registration{Team: team, Alias: shoal.Alias{Namespace: team.Slug, Name: "web"}, Tags: tags, Build: b, Superseded: "superseded"}
}

func TestRegisterBuild(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		first, err := s.RegisterBuild(ctx, registration(team, "b1", start, "default", "v1"))
		if err != nil {
			t.Fatal(err)
		}
		if len(first.ID) != 20 || first.BuildCount != 1 || first.Source != shoal.SourceTemplate ||
			!reflect.DeepEqual(first.Aliases, []shoal.Alias{{Namespace: "alpha", Name: "web"}}) {
			t.Errorf("got %+v", first)
		}
		// Another tag leaves the first build alone, a common one supersedes it.
		again, err := s.RegisterBuild(ctx, registration(team, "b2", start.Add(time.Second), "v2"))
		if err != nil || again.ID != first.ID {
			t.Fatalf("got %+v, %v", again, err)
		}
		if b, err := s.Build(ctx, first.ID, "b1"); err != nil || b.Status != shoal.BuildWaiting {
			t.Errorf("got %+v, %v", b, err)
		}
		if _, err := s.RegisterBuild(ctx, registration(team, "b3", start.Add(2*time.Second), "v1")); err != nil {
			t.Fatal(err)
		}
		b, err := s.Build(ctx, first.ID, "b1")
		if err != nil || b.Status != shoal.BuildError || b.Reason.Message != "superseded" || !b.FinishedAt.Equal(start.Add(2*time.Second)) {
			t.Errorf("got %+v, %v", b, err)
		}
	})
}

func TestRegisterBuildRefuses(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		alpha, beta := makeTeam(t, s, "alpha"), makeTeam(t, s, "beta")
		for _, tpl := range []shoal.Template{{ID: "theirs", TeamID: beta.ID}, {ID: "snapshot", TeamID: alpha.ID, Source: shoal.SourceSnapshot}} {
			if err := s.CreateTemplate(ctx, tpl); err != nil {
				t.Fatal(err)
			}
			if err := s.AddAlias(ctx, tpl.ID, shoal.Alias{Namespace: "alpha", Name: "of-" + tpl.ID}); err != nil {
				t.Fatal(err)
			}
		}
		for name, want := range map[string]error{"theirs": ErrNameIsID, "of-theirs": ErrNameTaken, "of-snapshot": ErrNameTaken} {
			r := registration(alpha, "b-"+name, start, "default")
			r.Alias.Name = name
			if _, err := s.RegisterBuild(ctx, r); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		if _, err := s.RegisterBuild(ctx, registration(shoal.Team{ID: "nobody"}, "b", start)); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown team: %v", err)
		}
		if list, err := s.Templates(ctx, alpha.ID); err != nil || len(list) != 0 {
			t.Errorf("a refusal left %+v, %v (a snapshot's template is not listed)", list, err)
		}
	})
}

// TestBuildLimit: the limit counts other builds under way that are younger than a
// day, and holds for registrations at the same time.
func TestBuildLimit(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		team.Limits.ConcurrentBuilds = 3
		if _, err := s.RegisterBuild(ctx, registration(team, "forgotten", start.Add(-25*time.Hour), "old")); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		accepted, refused := 0, 0
		for i := range 8 {
			wg.Go(func() {
				_, err := s.RegisterBuild(ctx, registration(team, fmt.Sprint("b", i), start, fmt.Sprint("tag", i)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					accepted++
				case errors.As(err, new(*TooManyBuilds)):
					refused++
					if want := "of which 3 wait"; !strings.Contains(err.Error(), want) {
						t.Errorf("%v, want %s", err, want)
					}
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if accepted != 3 || refused != 5 {
			t.Errorf("%d accepted, %d refused", accepted, refused)
		}
		// A rebuild that takes the place of one of them is no further build.
		tpl, err := s.TemplateByAlias(ctx, shoal.Alias{Namespace: "alpha", Name: "web"})
		if err != nil || tpl.BuildCount != 4 {
			t.Fatalf("got %+v, %v", tpl, err)
		}
		tags, err := s.Tags(ctx, tpl.ID)
		if err != nil || len(tags) != 4 {
			t.Fatalf("got %+v, %v", tags, err)
		}
		if _, err := s.RegisterBuild(ctx, registration(team, "rebuild", start.Add(time.Second), tags[0].Tag)); err != nil {
			t.Error(err)
		}
	})
}

func TestBuildStates(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		tpl, err := s.RegisterBuild(ctx, registration(team, "b1", start, "default"))
		if err != nil {
			t.Fatal(err)
		}
		wish := shoal.RuntimeWish{Name: "gvisor", Required: true}
		b := shoal.Build{ID: "b1", Origin: "image:debian", Runtime: wish, Start: shoal.StartBlock{Command: "srv", Ready: "true"}, UpdatedAt: start}
		if err := s.CompleteBuild(ctx, b); !errors.Is(err, ErrNotFound) {
			t.Errorf("a waiting build was completed: %v", err)
		}
		if err := s.StartBuild(ctx, b, "me"); err != nil {
			t.Fatal(err)
		}
		if err := s.StartBuild(ctx, b, "other"); !errors.Is(err, ErrNotFound) {
			t.Errorf("started twice: %v", err)
		}
		if err := s.ExpireBuild(ctx, "b1", "late", start); !errors.Is(err, ErrNotFound) {
			t.Errorf("a build under way expired: %v", err)
		}
		mine, err := s.BuildingOf(ctx, "me")
		if others, _ := s.BuildingOf(ctx, "other"); err != nil || !reflect.DeepEqual(mine, []string{"b1"}) || len(others) != 0 {
			t.Errorf("mine %v, others %v, %v", mine, others, err)
		}
		done := shoal.Build{ID: "b1", TemplateID: tpl.ID, Status: shoal.BuildReady, Origin: "image:debian",
			Resources:   shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 7},
			EnvdVersion: "0.6.13", ImageDigest: "sha256:a", Layers: []string{"sha256:a", "sha256:b"}, DefaultUser: "root", DefaultWorkdir: "/w",
			Context: shoal.BuildContext{User: "root", Workdir: "/w", Env: map[string]string{"PEM": "a\nb\"'`"}},
			Start: shoal.StartBlock{Command: "srv", Ready: "true",
				Context: shoal.BuildContext{User: "user", Env: map[string]string{"A": "1"}}},
			Runtime:   wish,
			CreatedAt: start, UpdatedAt: start.Add(time.Minute), FinishedAt: start.Add(time.Minute)}
		if err := s.CompleteBuild(ctx, done); err != nil {
			t.Fatal(err)
		}
		if got, err := s.ReadyBuild(ctx, tpl.ID, "default"); err != nil || !reflect.DeepEqual(got, done) {
			t.Errorf("got %+v, %v", got, err)
		}
		if err := s.FailBuild(ctx, "b1", shoal.BuildReason{Message: "late"}, start); !errors.Is(err, ErrNotFound) {
			t.Errorf("a ready build failed: %v", err)
		}
	})
}

func TestRivalsAndStaleBuilds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		for i, tags := range [][]string{{"a", "b"}, {"c"}, {"b", "d"}} {
			id := fmt.Sprint("b", i)
			if _, err := s.RegisterBuild(ctx, registration(team, id, start.Add(time.Duration(i)*time.Hour), tags...)); err != nil {
				t.Fatal(err)
			}
			if i < 2 {
				if err := s.StartBuild(ctx, shoal.Build{ID: id}, "me"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, err := s.Rivals(ctx, "b2"); err != nil || !reflect.DeepEqual(got, []string{"b0"}) {
			t.Errorf("rivals %v, %v", got, err)
		}
		if got, err := s.StaleBuilds(ctx, shoal.BuildBuilding, start.Add(30*time.Minute)); err != nil || !reflect.DeepEqual(got, []string{"b0"}) {
			t.Errorf("stale %v, %v", got, err)
		}
		if got, err := s.ActiveBuilds(ctx, team.ID); err != nil || len(got) != 3 {
			t.Errorf("active %v, %v", got, err)
		}
	})
}

func TestTagsMove(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		if err := s.CreateTemplate(ctx, shoal.Template{ID: "t1", TeamID: team.ID}); err != nil {
			t.Fatal(err)
		}
		older, newer := makeBuild("b1", start), makeBuild("b2", start.Add(time.Second))
		for _, b := range []shoal.Build{older, newer} {
			if err := s.AddBuild(ctx, b, "v"); err != nil {
				t.Fatal(err)
			}
		}
		later := start.Add(time.Minute)
		for range 2 { // repeating it is fine
			if err := s.AssignTags(ctx, older, later, "v", "stable"); err != nil {
				t.Fatal(err)
			}
		}
		for _, tag := range []string{"v", "stable"} {
			if b, err := s.ReadyBuild(ctx, "t1", tag); err != nil || b.ID != "b1" {
				t.Errorf("%s is %s, %v", tag, b.ID, err)
			}
		}
		if err := s.RemoveTags(ctx, "t1", "v", "never"); err != nil {
			t.Fatal(err)
		}
		if tags, err := s.Tags(ctx, "t1"); err != nil || len(tags) != 1 || tags[0].Tag != "stable" {
			t.Errorf("got %+v, %v", tags, err)
		}
	})
}

func TestDeleteTemplate(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		tpl, err := s.RegisterBuild(ctx, registration(team, "b1", start, "default"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetPublic(ctx, tpl.ID, true, start); err != nil {
			t.Fatal(err)
		}
		stopped, err := s.DeleteTemplate(ctx, tpl.ID, "gone", start.Add(time.Minute))
		if err != nil || !reflect.DeepEqual(stopped, []string{"b1"}) {
			t.Fatalf("stopped %v, %v", stopped, err)
		}
		if b, err := s.Build(ctx, tpl.ID, "b1"); err != nil || b.Status != shoal.BuildError || b.Reason.Message != "gone" {
			t.Errorf("got %+v, %v", b, err)
		}
		_, byID := s.Template(ctx, tpl.ID)
		_, byName := s.TemplateByAlias(ctx, tpl.Aliases[0])
		_, again := s.DeleteTemplate(ctx, tpl.ID, "gone", start)
		for what, err := range map[string]error{"by ID": byID, "by name": byName, "again": again, "publish": s.SetPublic(ctx, tpl.ID, false, start)} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if list, err := s.Templates(ctx, team.ID); err != nil || len(list) != 0 {
			t.Errorf("listed: %+v, %v", list, err)
		}
		// The name is free, the ID is not.
		if err := s.CreateTemplate(ctx, shoal.Template{ID: tpl.ID, TeamID: team.ID}); !errors.Is(err, ErrExists) {
			t.Errorf("the ID was given again: %v", err)
		}
		fresh, err := s.RegisterBuild(ctx, registration(team, "b2", start.Add(time.Hour), "default"))
		if err != nil || fresh.ID == tpl.ID {
			t.Errorf("got %+v, %v", fresh, err)
		}
	})
}

// TestTemplateLimit: a team gets no template beyond its limit, and builds those that it has.
func TestTemplateLimit(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		team.Limits.Templates = 1
		if _, err := s.RegisterBuild(ctx, registration(team, "b1", start)); err != nil {
			t.Fatal(err)
		}
		another := registration(team, "b2", start)
		another.Alias.Name = "another"
		if _, err := s.RegisterBuild(ctx, another); !errors.Is(err, ErrTooManyTemplates) {
			t.Errorf("a second one: %v", err)
		}
		if list, err := s.Templates(ctx, team.ID); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		first, err := s.RegisterBuild(ctx, registration(team, "b3", start))
		if err != nil {
			t.Errorf("another build of the first: %v", err)
		}
		if _, err := s.DeleteTemplate(ctx, first.ID, "deleted", start); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RegisterBuild(ctx, another); err != nil {
			t.Errorf("when the first is gone: %v", err)
		}
	})
}
