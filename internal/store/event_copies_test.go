package store

import (
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// uncopied returns the IDs of the events that are still to be copied, and marks some of them.
func uncopied(t *testing.T, s *Store, rows, marks int) string {
	t.Helper()
	list, ids, err := s.EventSpool().Uncopied(t.Context(), rows, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range list {
		if e.ID != ids[i] || e.StoredAt.IsZero() || !e.ExpiresAt.After(e.Time) {
			t.Errorf("%+v is marked by %s", e, ids[i])
		}
	}
	if err := s.EventSpool().Copied(t.Context(), ids[:min(marks, len(ids))]); err != nil {
		t.Fatal(err)
	}
	return strings.Join(ids, " ")
}

func TestEventSpool(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		if got := uncopied(t, s, 10, 10); got != "" {
			t.Errorf("of none there is to be copied %q", got)
		}
		addEvents(t, s, 3, anEvent(team, "one", 3, shoal.EventKilled), anEvent(team, "one", 1, shoal.EventCreated),
			anEvent(team, "one", 2, shoal.EventPaused))
		if got := uncopied(t, s, 10, 1); got != "one-1 one-2 one-3" {
			t.Errorf("to be copied: %q", got)
		}
		if got := uncopied(t, s, 1, 1); got != "one-2" {
			t.Errorf("with one at once: %q", got)
		}
		addEvents(t, s, 0, anEvent(team, "one", 1, shoal.EventCreated)) // it is copied already
		if got := uncopied(t, s, 10, 10); got != "one-3" {
			t.Errorf("after two: %q", got)
		}
		if err := s.CopyEventsAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := uncopied(t, s, 10, 0); got != "one-1 one-2 one-3" {
			t.Errorf("again: %q", got)
		}
		if list, _, err := s.EventSpool().Uncopied(t.Context(), 10, 1); err != nil || len(list) != 1 {
			t.Errorf("with one byte: %d, %v", len(list), err)
		}
	})
}

// TestEventsSince: what is from before is copied, and what is from then on is in the store.
func TestEventsSince(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team, other := makeTeam(t, s, "alpha").ID, makeTeam(t, s, "beta").ID
		since := func(want time.Time) {
			t.Helper()
			got, err := s.EventsSince(t.Context(), team)
			if err != nil || got.Sub(want).Abs() > time.Minute {
				t.Errorf("since %s, %v; want %s", got, err, want)
			}
		}
		since(time.Now().Add(-copyTime))
		old, young := anEvent(team, "one", 1, shoal.EventCreated), anEvent(team, "one", 2, shoal.EventPaused)
		old.Time = time.Now().UTC().Add(-2 * copyTime).Truncate(time.Microsecond)
		addEvents(t, s, 2, old, young)
		since(old.Time) // it is not copied yet
		if got := uncopied(t, s, 10, 2); got != "one-1 one-2" {
			t.Fatalf("to be copied: %q", got)
		}
		since(time.Now().Add(-copyTime))
		theirs := anEvent(other, "two", 1, shoal.EventCreated)
		theirs.Time = old.Time
		addEvents(t, s, 1, theirs)
		since(old.Time) // which is as right as any time before
		uncopied(t, s, 10, 1)
		if err := s.DropExpiredEvents(t.Context(), old.Time.Add(7*24*time.Hour+time.Hour)); err != nil {
			t.Fatal(err)
		}
		since(young.Time) // it has nothing from before

		for _, want := range []struct {
			q EventQuery
			n int
		}{{EventQuery{}, 1}, {EventQuery{Since: young.Time}, 1}, {EventQuery{Since: young.Time.Add(time.Microsecond)}, 0},
			{EventQuery{SandboxID: "one"}, 1}, {EventQuery{SandboxID: "two"}, 0}, {EventQuery{Types: []shoal.EventType{shoal.EventKilled}}, 0}} {
			want.q.TeamID = team
			n, err := s.CountEvents(t.Context(), want.q)
			if err != nil || n != want.n {
				t.Errorf("%+v: %d, %v, want %d", want.q, n, err, want.n)
			}
			for _, oldestFirst := range []bool{false, true} {
				want.q.OldestFirst = oldestFirst
				if got := strings.Fields(list(t, s, want.q)); len(got) != want.n {
					t.Errorf("%+v lists %v, want %d", want.q, got, want.n)
				}
			}
		}
	})
}
