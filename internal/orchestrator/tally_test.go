package orchestrator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestTally: each team is counted at the same times, and once as zero after its last sandbox;
// what was created between two counts is not lost.
func TestTally(t *testing.T) {
	c := newTally("n")
	at := time.Date(2026, 9, 1, 12, 4, 45, 0, time.UTC)
	c.created("a")
	c.created("a")
	c.created("short") // and has ended
	c.count(at.Add(2*time.Millisecond), map[string]int{"a": 2})
	c.created("a")
	c.count(at, map[string]int{"a": 9}) // the timer was early
	c.count(at.Add(5*time.Second), map[string]int{"a": 3})
	c.count(at.Add(10*time.Second), nil)
	c.count(at.Add(15*time.Second), map[string]int{"b": 1}) // another window
	c.count(at.Add(20*time.Second), map[string]int{"b": 1, "a": 1})
	c.count(at.Add(30*time.Second), map[string]int{"b": 2}) // one was missed
	has := func(team string, from time.Time, counts ...shoal.Count) {
		t.Helper()
		if !slices.ContainsFunc(c.after(time.Time{}), func(got shoal.Tally) bool {
			return got.TeamID == team && got.NodeID == "n" && got.From.Equal(from) && slices.Equal(got.Counts, counts)
		}) {
			t.Errorf("no tally of %s from %s with %v in %v", team, from, counts, c.after(time.Time{}))
		}
	}
	has("a", at, shoal.Count{Running: 2, Created: 2}, shoal.Count{Running: 3, Created: 1}, shoal.Count{})
	has("short", at, shoal.Count{Created: 1}, shoal.Count{})
	has("a", at.Add(20*time.Second), shoal.Count{Running: 1})
	has("a", at.Add(30*time.Second), shoal.Count{})
	has("b", at.Add(15*time.Second), shoal.Count{Running: 1}, shoal.Count{Running: 1})
	has("b", at.Add(30*time.Second), shoal.Count{Running: 2})
	if n := len(c.after(time.Time{})); n != 6 {
		t.Errorf("%d tallies, want 6: %v", n, c.after(time.Time{}))
	}
	if late := c.after(at.Add(20 * time.Second)); len(late) != 2 {
		t.Errorf("after 20 s: %v", late)
	}
	if none := c.after(at.Add(30 * time.Second)); len(none) != 0 {
		t.Errorf("after all: %v", none)
	}
}

// TestTallyIsWhole: one team's counts over several windows are in order and without a gap.
func TestTallyIsWhole(t *testing.T) {
	c := newTally("n")
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for i := range 150 {
		c.count(at.Add(time.Duration(i)*shoal.SamplePeriod), map[string]int{"a": i + 1})
	}
	list, next := c.after(time.Time{}), 0
	for _, tally := range list {
		if tally.Until().Sub(tally.From) >= shoal.TallyLength {
			t.Errorf("a tally from %s to %s", tally.From, tally.Until())
		}
		for i, count := range tally.Counts {
			if next++; count.Running != next || !tally.From.Add(time.Duration(i)*shoal.SamplePeriod).Equal(
				at.Add(time.Duration(next-1)*shoal.SamplePeriod)) {
				t.Fatalf("count %d is %v", next, count)
			}
		}
	}
	if len(list) != 3 || next != 150 {
		t.Errorf("%d counts in %d tallies", next, len(list))
	}
}

// TestTalliesWithoutApi are bounded: the newest stay.
func TestTalliesWithoutApi(t *testing.T) {
	c := newTally("n")
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for i := range 20 {
		teams := map[string]int{}
		for n := range 500 {
			teams[fmt.Sprint(n)] = 1
		}
		c.count(at.Add(time.Duration(i)*shoal.TallyLength), teams)
	}
	if len(c.ended) != maxTallies || !c.ended[0].From.Equal(at.Add(9*shoal.TallyLength)) {
		t.Errorf("%d are kept, from %s on", len(c.ended), c.ended[0].From)
	}
}
