package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// anEvent is an event of a team, n seconds after an hour ago.
func anEvent(teamID, sandboxID string, number int64, kind shoal.EventType) shoal.Event {
	at := time.Now().UTC().Add(time.Duration(number)*time.Second - time.Hour).Truncate(time.Microsecond)
	return shoal.Event{ID: sandboxID + fmt.Sprint("-", number), Number: number, Type: kind, Time: at,
		SandboxID: sandboxID, ExecutionID: "e", TemplateID: "t", BuildID: "b", TeamID: teamID, Data: `{"a":"\u0000"}`}
}

func addEvents(t *testing.T, s *Store, want int, events ...shoal.Event) {
	t.Helper()
	if n, err := s.AddEvents(t.Context(), events); err != nil || n != want {
		t.Fatalf("%d events were added, %v; want %d", n, err, want)
	}
}

// list returns the IDs of what a query finds.
func list(t *testing.T, s *Store, q EventQuery) string {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	events, err := s.Events(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func TestEvents(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		team, other := makeTeam(t, s, "alpha").ID, makeTeam(t, s, "beta").ID
		events := []shoal.Event{anEvent(team, "one", 1, shoal.EventCreated), anEvent(team, "two", 2, shoal.EventCreated),
			anEvent(other, "theirs", 3, shoal.EventCreated), anEvent(team, "one", 4, shoal.EventKilled)}
		addEvents(t, s, 4, events...)
		addEvents(t, s, 0, events...) // again
		addEvents(t, s, 0, anEvent("nobody", "x", 1, shoal.EventCreated))
		if got, err := s.Event(t.Context(), team, "one-1"); err != nil || got != events[0] {
			t.Errorf("read as %+v, %v", got, err)
		}
		if _, err := s.Event(t.Context(), other, "one-1"); err == nil {
			t.Error("another team reads an event")
		}
		for want, q := range map[string]EventQuery{
			"one-4 two-2 one-1": {},
			"one-1 two-2 one-4": {OldestFirst: true},
			"two-2":             {Limit: 1, Offset: 1},
			"two-2 one-4":       {Offset: 1, OldestFirst: true},
			"two-2 one-1":       {Types: []shoal.EventType{shoal.EventCreated, shoal.EventPaused}},
			"":                  {Types: []shoal.EventType{shoal.EventPaused}},
			"one-4 one-1":       {SandboxID: "one"},
			"one-1 one-4":       {SandboxID: "one", OldestFirst: true},
			"one-4":             {SandboxID: "one", Types: []shoal.EventType{shoal.EventKilled}},
		} {
			q.TeamID = team
			if got := list(t, s, q); got != want {
				t.Errorf("%+v: %q, want %q", q, got, want)
			}
		}
		if got := list(t, s, EventQuery{TeamID: other, SandboxID: "one"}); got != "" {
			t.Errorf("another team's sandbox: %q", got)
		}
		rows, err := s.EventsStoredSince(t.Context(), team, time.Now().Add(-time.Minute), 100)
		if err != nil || len(rows) != 3 || rows[0].Event != events[0] || time.Since(rows[0].StoredAt) > time.Minute {
			t.Errorf("new events: %+v, %v", rows, err)
		}
	})
}

// TestEventsOfTwoTakers: two apis that get the same events at the same time store each once, and
// open each delivery once.
func TestEventsOfTwoTakers(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s, second := openStore(t, location), openStore(t, location)
		team := makeTeam(t, s, "alpha").ID
		hook := addWebhook(t, s, team)
		var wg sync.WaitGroup
		var mu sync.Mutex
		added := 0
		for _, taker := range []*Store{s, second} {
			wg.Go(func() {
				for n := range int64(30) {
					got, err := taker.AddEvents(t.Context(), []shoal.Event{anEvent(team, "one", n+1, shoal.EventUpdated)})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					added += got
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		deliveries, err := s.Deliveries(t.Context(), team, hook.ID, 100, 0)
		if err != nil || added != 30 || len(deliveries) != 30 {
			t.Errorf("%d events, %d deliveries, %v", added, len(deliveries), err)
		}
	})
}

// usage is what the store thinks that a team's events take, and what they take.
func usage(t *testing.T, s *Store, teamID string) (said, is int64) {
	t.Helper()
	err := s.db.QueryRowContext(t.Context(), `SELECT (SELECT bytes FROM event_usage WHERE team_id = $1),
	COALESCE((SELECT SUM(bytes) FROM events WHERE team_id = $1), 0)`, teamID).Scan(&said, &is)
	if err != nil {
		t.Fatal(err)
	}
	return said, is
}

// TestEventRetention: events go after their team's time, and what is older when it comes is not
// stored at all.
func TestEventRetention(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		short, long := makeTeam(t, s, "short"), makeTeam(t, s, "long")
		change := limitChange(t, map[string]int64{"event-days": 365})
		if _, err := s.ChangeLimits(t.Context(), long.ID, change); err != nil {
			t.Fatal(err)
		}
		old := func(team, sandbox string, days int) shoal.Event {
			e := anEvent(team, sandbox, 1, shoal.EventCreated)
			e.Time = e.Time.Add(-time.Duration(days) * 24 * time.Hour)
			return e
		}
		addEvents(t, s, 1, old(short.ID, "s6", 6), old(short.ID, "s8", 8))
		addEvents(t, s, 1, old(long.ID, "l300", 300), old(long.ID, "l366", 366))
		if err := s.DropExpiredEvents(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if a, b := list(t, s, EventQuery{TeamID: short.ID}), list(t, s, EventQuery{TeamID: long.ID}); a != "s6-1" || b != "l300-1" {
			t.Errorf("kept: %q, %q", a, b)
		}
		if err := s.DropExpiredEvents(t.Context(), time.Now().Add(2*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if a, b := list(t, s, EventQuery{TeamID: short.ID}), list(t, s, EventQuery{TeamID: long.ID}); a != "" || b != "l300-1" {
			t.Errorf("kept two days later: %q, %q", a, b)
		}
		for _, id := range []string{short.ID, long.ID} {
			if said, is := usage(t, s, id); said != is {
				t.Errorf("%d bytes are counted, and %d are there", said, is)
			}
		}
	})
}

// TestEventsAreBounded: a team's newest events stay, and others' all.
func TestEventsAreBounded(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		s.maxEventBytes = 900 << 10
		team, other := makeTeam(t, s, "alpha").ID, makeTeam(t, s, "beta").ID
		addEvents(t, s, 1, anEvent(other, "theirs", 1, shoal.EventCreated))
		var events []shoal.Event
		for n := range int64(2000) {
			events = append(events, anEvent(team, "one", n+1, shoal.EventUpdated))
		}
		for chunk := range slices.Chunk(events, 500) {
			addEvents(t, s, 500, chunk...)
		}
		said, is := usage(t, s, team)
		if said != is || is > s.maxEventBytes || is == 0 {
			t.Errorf("%d bytes are counted, and %d are there", said, is)
		}
		if got := list(t, s, EventQuery{TeamID: team, Limit: 1}); got != "one-2000" {
			t.Errorf("the newest is %q", got)
		}
		if got := list(t, s, EventQuery{TeamID: other}); got != "theirs-1" {
			t.Errorf("another team's: %q", got)
		}
	})
}
