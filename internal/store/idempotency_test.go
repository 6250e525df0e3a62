package store

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// beginCreations stores creates under the given keys, each a second after the one before.
func beginCreations(t *testing.T, s *Store, teamID string, most int, keys ...string) {
	t.Helper()
	for i, key := range keys {
		at := start.Add(time.Duration(i) * time.Second)
		c := Creation{TeamID: teamID, Key: key, Digest: "d", SandboxID: "i" + key, Server: "a", StartedAt: at}
		if err := s.BeginCreation(t.Context(), c, start.Add(-time.Hour), most); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCreations(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx, team := t.Context(), makeTeam(t, s, "alpha")
		want := Creation{TeamID: team.ID, Key: "k", Digest: "d", SandboxID: "ik", Server: "a", StartedAt: start}
		beginCreations(t, s, team.ID, 9, "k")
		if err := s.BeginCreation(ctx, want, start, 9); !errors.Is(err, ErrExists) {
			t.Errorf("the same key again: %v", err)
		}
		if got, err := s.Creation(ctx, team.ID, "k", start); err != nil || got != want {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := s.Creation(ctx, team.ID, "k", start.Add(time.Second)); !errors.Is(err, ErrNotFound) {
			t.Errorf("a key that is too old: %v", err)
		}
		if _, err := s.Creation(ctx, makeTeam(t, s, "beta").ID, "k", start); !errors.Is(err, ErrNotFound) {
			t.Errorf("another team's key: %v", err)
		}
		if err := s.MoveCreation(ctx, want, "inext"); err != nil {
			t.Fatal(err)
		}
		if err := s.MoveCreation(ctx, want, "ithird"); !errors.Is(err, ErrNotFound) {
			t.Errorf("an attempt that is over goes on: %v", err)
		}
		want.SandboxID = "inext"
		if err := s.EndCreation(ctx, want, "answer"); err != nil {
			t.Fatal(err)
		}
		if err := s.ForgetCreation(ctx, want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Creation(ctx, team.ID, "k", start); err != nil || got.Answer != "answer" || got.SandboxID != "inext" {
			t.Errorf("an answer was forgotten: %+v, %v", got, err)
		}
	})
}

func TestCreationThatMadeNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha")
		c := Creation{TeamID: team.ID, Key: "k", SandboxID: "ik"}
		for range 2 { // the key can be used again
			beginCreations(t, s, team.ID, 9, "k")
			if err := s.ForgetCreation(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.EndCreation(t.Context(), c, "answer"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a forgotten create was ended: %v", err)
		}
	})
}

// TestCreationsAreBounded: a team's newest keys are kept, whatever other teams do, and nobody's
// beyond their time.
func TestCreationsAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		ctx, team, other := t.Context(), makeTeam(t, s, "alpha"), makeTeam(t, s, "beta")
		beginCreations(t, s, other.ID, 3, "theirs")
		beginCreations(t, s, team.ID, 3, "k0", "k1", "k2", "k3", "k4")
		for i := range 5 {
			_, err := s.Creation(ctx, team.ID, fmt.Sprint("k", i), start)
			if kept := err == nil; kept != (i >= 2) {
				t.Errorf("key %d: %v", i, err)
			}
		}
		if _, err := s.Creation(ctx, other.ID, "theirs", start); err != nil {
			t.Errorf("another team's key: %v", err)
		}
		late := Creation{TeamID: team.ID, Key: "late", SandboxID: "x", StartedAt: start.Add(time.Minute)}
		if err := s.BeginCreation(ctx, late, start.Add(4*time.Second), 9); err != nil {
			t.Fatal(err)
		}
		for key, kept := range map[string]bool{"k3": false, "k4": true, "late": true} {
			if _, err := s.Creation(ctx, team.ID, key, start); (err == nil) != kept {
				t.Errorf("%s: %v", key, err)
			}
		}
	})
}
