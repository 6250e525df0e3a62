package store

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func limitChange(t *testing.T, named map[string]int64) shoal.LimitChange {
	t.Helper()
	values, set, err := shoal.ParseLimits(named)
	if err != nil {
		t.Fatal(err)
	}
	return shoal.LimitChange{Values: values, Set: set}
}

// TestTiers: a team's limits are its tier's but for its own, whoever asks for the team.
func TestTiers(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		tiers, err := s.Tiers(ctx)
		if err != nil || len(tiers) != 1 || tiers[0] != (shoal.Tier{Name: shoal.DefaultTier, Limits: shoal.DefaultTeamLimits()}) {
			t.Fatalf("a new database has %+v, %v", tiers, err)
		}
		team := makeTeam(t, s, "alpha")
		small := limitChange(t, map[string]int64{"max-cpu": 2, "storage": 50, "event-days": 1})
		tier, err := s.AddTier(ctx, "small", small.Set, small.Values)
		if err != nil || tier.Limits != shoal.DefaultTeamLimits().With(small.Values, small.Set) {
			t.Fatalf("%+v, %v", tier, err)
		}
		change := limitChange(t, map[string]int64{"storage": 70, "builds": 3})
		change.Tier = "small"
		got, err := s.ChangeLimits(ctx, team.ID, change)
		team.Tier, team.Own, team.Limits = "small", change.Set, tier.Limits.With(change.Values, change.Set)
		if err != nil || got != team {
			t.Errorf("%+v, want %+v (%v)", got, team, err)
		}
		if tier, err = s.ChangeTier(ctx, "small", change.Set, shoal.TeamLimits{Builds: 1, StorageGB: 1}); err != nil || tier.Teams != 1 {
			t.Errorf("%+v, %v", tier, err)
		}
		everybodySees(t, s, team)
		reset := shoal.LimitChange{}
		reset.Reset, _ = shoal.ParseLimitNames([]string{"storage", "max-cpu"})
		team.Own, _ = shoal.ParseLimitNames([]string{"builds"})
		team.Limits.StorageGB = 1
		if got, err = s.ChangeLimits(ctx, team.ID, reset); err != nil || got != team {
			t.Errorf("%+v, want %+v (%v)", got, team, err)
		}
		everybodySees(t, s, team)
		if tiers, err = s.Tiers(ctx); err != nil || len(tiers) != 2 || tiers[1] != tier {
			t.Errorf("%+v, %v", tiers, err)
		}
	})
}

// everybodySees asks for a team in every way.
func everybodySees(t *testing.T, s *Store, team shoal.Team) {
	t.Helper()
	ctx := t.Context()
	key := "hash of " + fmt.Sprint(time.Now().UnixNano())
	user := shoal.User{ID: key, Email: key, CreatedAt: start}
	for _, err := range []error{s.CreateKey(ctx, shoal.APIKey{ID: key, TeamID: team.ID, Hash: key}),
		s.CreateUser(ctx, user), s.AddMember(ctx, team.ID, user.ID, shoal.RoleOwner)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	byID, err1 := s.Team(ctx, team.ID)
	bySlug, err2 := s.TeamBySlug(ctx, team.Slug)
	all, err3 := s.Teams(ctx)
	byKey, _, err4 := s.KeyOwner(ctx, key)
	member, err5 := s.Membership(ctx, team.ID, user.ID)
	byDefault, err6 := s.Membership(ctx, "", user.ID)
	memberships, err7 := s.Memberships(ctx, user.ID)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil || len(all) != 1 || len(memberships) != 1 {
		t.Fatalf("%v, %v, %v", all, memberships, err)
	}
	for i, got := range []shoal.Team{byID, bySlug, all[0], byKey, member.Team, byDefault.Team, memberships[0].Team} {
		if got != team {
			t.Errorf("way %d: %+v, want %+v", i, got, team)
		}
	}
}

func TestTierRefusals(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx := t.Context()
		team := makeTeam(t, s, "alpha")
		_, added := s.AddTier(ctx, "small", 0, shoal.TeamLimits{})
		_, again := s.AddTier(ctx, "small", 0, shoal.TeamLimits{})
		_, unknown := s.ChangeTier(ctx, "none", 0, shoal.TeamLimits{})
		_, moved := s.ChangeLimits(ctx, team.ID, shoal.LimitChange{Tier: "none"})
		_, nobody := s.ChangeLimits(ctx, "nobody", shoal.LimitChange{Tier: "small"})
		_, put := s.ChangeLimits(ctx, team.ID, shoal.LimitChange{Tier: "small"})
		for i, c := range []struct{ got, want error }{
			{added, nil}, {again, ErrExists}, {unknown, ErrNoTier}, {moved, ErrNoTier}, {nobody, ErrNotFound}, {put, nil},
			{s.RemoveTier(ctx, "small"), ErrInUse}, {s.RemoveTier(ctx, "none"), ErrNoTier},
			{s.RemoveTier(ctx, shoal.DefaultTier), ErrInUse},
			{s.CreateTeam(ctx, shoal.Team{ID: "x", Slug: "x", Tier: "none"}), ErrNoTier},
		} {
			if !errors.Is(c.got, c.want) {
				t.Errorf("%d: %v, want %v", i, c.got, c.want)
			}
		}
		if _, err := s.ChangeLimits(ctx, team.ID, shoal.LimitChange{Tier: shoal.DefaultTier}); err != nil {
			t.Fatal(err)
		}
		if err := s.RemoveTier(ctx, "small"); err != nil {
			t.Error(err)
		}
	})
}

// TestTierIsNotRemovedUnderATeam: of those who remove a tier and those who put a team into it, one
// wins.
func TestTierIsNotRemovedUnderATeam(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		first, second := openStore(t, location), openStore(t, location)
		ctx := t.Context()
		for i := range 10 {
			name := fmt.Sprint("tier", i)
			if _, err := first.AddTier(ctx, name, 0, shoal.TeamLimits{}); err != nil {
				t.Fatal(err)
			}
			var made, removed error
			var wg sync.WaitGroup
			wg.Go(func() { made = first.CreateTeam(ctx, shoal.Team{ID: name, Slug: name, Tier: name}) })
			wg.Go(func() { removed = second.RemoveTier(ctx, name) })
			wg.Wait()
			_, err := first.Team(ctx, name)
			if (made == nil) == (removed == nil) || (made == nil) != (err == nil) {
				t.Errorf("made: %v, removed: %v, there: %v", made, removed, err)
			}
		}
	})
}

// TestLimitsOfAnEarlierVersion: what its teams may stays as it was, and what is as by default follows
// the default tier from now on.
func TestLimitsOfAnEarlierVersion(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ctx := t.Context()
		makeVersion(t, location, 12)
		damage(t, location, `
			INSERT INTO teams (id, name, slug, concurrent_sandboxes, max_length_hours, max_cpu, max_memory_mb, concurrent_builds,
			                   disk_mb, created_at, sandboxes, builds, storage_gb, event_days)
			VALUES ('plain', 'plain', 'plain', 1000, 24, 32, 65536, 20, 10240, 1, 2000, 2000, 1024, 7),
			       ('own', 'own', 'own', 1, 2, 3, 4, 5, 6, 2, 0, 8, 9000000, 10),
			       ('first', 'first', 'first', 5000, 24, 32, 65536, 20, 10240, 3, 2000, 2000, 1024, 7),
			       ('last', 'last', 'last', 1000, 24, 32, 65536, 20, 10240, 4, 2000, 2000, 1024, 365)`)
		s := openStore(t, location)
		tenth := shoal.TeamLimits{ConcurrentSandboxes: 1, MaxLength: 2 * time.Hour, MaxCPU: 3, MaxMemoryMB: 4, ConcurrentBuilds: 5,
			DiskMB: 6, Sandboxes: 0, Builds: 8, Templates: 1000, Secrets: 500, StorageGB: 9_000_000, EventDays: 10,
			CreatesPerSecond: 100, RequestsPerSecond: 2000, Volumes: 100, VolumeMB: 10240}
		first, last := shoal.DefaultTeamLimits(), shoal.DefaultTeamLimits()
		first.ConcurrentSandboxes, last.EventDays = 5000, 365
		everything := slices.DeleteFunc(shoal.EveryLimit().Names(), func(name string) bool {
			return slices.Contains([]string{"creates-per-second", "requests-per-second", "templates", "secrets", "max-volumes",
				"volume-size"}, name)
		})
		for id, want := range map[string]struct {
			limits shoal.TeamLimits
			own    []string
		}{
			"plain": {shoal.DefaultTeamLimits(), []string{}}, "own": {tenth, everything},
			"first": {first, []string{"concurrent-sandboxes"}}, "last": {last, []string{"event-days"}},
		} {
			got, err := s.Team(ctx, id)
			if err != nil || got.Limits != want.limits || !reflect.DeepEqual(got.Own.Names(), want.own) || got.Tier != shoal.DefaultTier {
				t.Errorf("%s: %+v, own %v, %v", id, got, got.Own.Names(), err)
			}
		}
	})
}
