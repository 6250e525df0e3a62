package store

import (
	"reflect"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestTallies: whichever api stores a tally, and however often and late, the longest stays;
// the rest goes with its time.
func TestTallies(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
		counts := []shoal.Count{{Running: 1, Created: 1}, {Running: 120}, {Running: 0, Created: 35}}
		of := func(team, node string, from time.Time, counts ...shoal.Count) shoal.Tally {
			return shoal.Tally{TeamID: team, NodeID: node, From: from, Counts: counts}
		}
		whole := of("team", "a", at, counts...)
		next := of("team", "a", at.Add(shoal.TallyLength), counts[1:]...)
		beside := of("team", "b", at, counts[:1]...)
		for _, list := range [][]shoal.Tally{{of("team", "a", at, counts[:2]...), beside}, {whole, next},
			{of("team", "a", at, counts[:1]...)}, {whole}, {of("other", "a", at, counts...)}, nil} {
			if err := s.AddTallies(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		is := func(from, to time.Time, want ...shoal.Tally) {
			t.Helper()
			got, err := s.Tallies(t.Context(), "team", from, to)
			if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("%v\n got %v\nwant %v", err, got, want)
			}
		}
		is(at, at.Add(time.Hour), whole, beside, next)
		is(at.Add(time.Second), at.Add(time.Minute), whole, beside)
		is(at.Add(-time.Hour), at.Add(-time.Second))
		if err := s.ForgetTallies(t.Context(), at.Add(shoal.TallyLength)); err != nil {
			t.Fatal(err)
		}
		is(at.Add(-time.Hour), at.Add(time.Hour), next)
	})
}
