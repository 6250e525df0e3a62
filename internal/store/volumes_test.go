package store

import (
	"errors"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestVolumes: names are a team's own, a removed volume is nobody's, and what it had is remembered
// until it is forgotten.
func TestVolumes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
		teams := []shoal.Team{{ID: "0198e8a2-0000-7000-8000-00000000000a", Name: "a", Slug: "a", Limits: shoal.DefaultTeamLimits()},
			{ID: "0198e8a2-0000-7000-8000-00000000000b", Name: "b", Slug: "b", Limits: shoal.DefaultTeamLimits()}}
		for _, team := range teams {
			if err := s.CreateTeam(ctx, team); err != nil {
				t.Fatal(err)
			}
		}
		volume := func(team int, name string) shoal.Volume {
			return shoal.Volume{ID: shoal.NewVolumeID(), TeamID: teams[team].ID, Name: name, Backend: "local", CreatedAt: now}
		}
		one := volume(0, "one")
		if err := errors.Join(s.AddVolume(ctx, one, 2), s.AddVolume(ctx, volume(1, "one"), 2)); err != nil {
			t.Fatal(err)
		}
		if err := s.AddVolume(ctx, volume(0, "one"), 2); !errors.Is(err, ErrExists) {
			t.Errorf("the same name: %v", err)
		}
		if err := s.AddVolume(ctx, volume(0, "two"), 1); !errors.Is(err, ErrTooManyVolumes) {
			t.Errorf("one too many: %v", err)
		}
		if got, err := s.Volume(ctx, teams[0].ID, one.ID); err != nil || got != one {
			t.Errorf("found %+v, %v", got, err)
		}
		if _, err := s.Volume(ctx, teams[1].ID, one.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("another team's: %v", err)
		}
		if err := s.RemoveVolume(ctx, teams[1].ID, one.ID, now); !errors.Is(err, ErrNotFound) {
			t.Errorf("another team's was removed: %v", err)
		}
		if err := s.RemoveVolume(ctx, teams[0].ID, one.ID, now); err != nil {
			t.Fatal(err)
		}
		if err := s.RemoveVolume(ctx, teams[0].ID, one.ID, now); !errors.Is(err, ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
		if list, err := s.Volumes(ctx, teams[0].ID); err != nil || len(list) != 0 {
			t.Errorf("the team has %v, %v", list, err)
		}
		if err := s.AddVolume(ctx, volume(0, "one"), 1); err != nil {
			t.Errorf("the name is not free again: %v", err)
		}
		if left, err := s.RemovedVolumes(ctx); err != nil || len(left) != 1 || left[0].ID != one.ID {
			t.Errorf("removed are %v, %v", left, err)
		}
		if err := s.ForgetVolume(ctx, one.ID); err != nil {
			t.Fatal(err)
		}
		if left, err := s.RemovedVolumes(ctx); err != nil || len(left) != 0 {
			t.Errorf("removed are %v, %v", left, err)
		}
	})
}
