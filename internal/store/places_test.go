package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// places asks for places of a team.
type places struct {
	t *testing.T
	s *Store
}

func (p places) request(id string, most int, running ...string) shoal.PlaceRequest {
	return shoal.PlaceRequest{TeamID: "team", SandboxID: id, Running: running,
		Limits: shoal.TeamLimits{ConcurrentSandboxes: most, Sandboxes: 100}}
}

func (p places) take(id string, most int, running ...string) shoal.Place {
	p.t.Helper()
	place, err := p.s.TakePlace(p.t.Context(), p.request(id, most, running...))
	if err != nil {
		p.t.Fatalf("%s: %v", id, err)
	}
	return place
}

func (p places) refused(id string, most int, running ...string) {
	p.t.Helper()
	if _, err := p.s.TakePlace(p.t.Context(), p.request(id, most, running...)); !shoal.ErrConcurrencyLimit.Matches(err) {
		p.t.Errorf("%s: %v", id, err)
	}
}

func (p places) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p places) on(node string) []shoal.Place {
	p.t.Helper()
	list, err := p.s.PlacesOn(p.t.Context(), node)
	p.must(err)
	return list
}

func openPlaces(t *testing.T, location string) places {
	s := openStore(t, location)
	p := places{t, s}
	p.must(s.CreateTeam(t.Context(), shoal.Team{ID: "team", Slug: "team"}))
	return p
}

func TestPlaces(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		p := openPlaces(t, location)
		ctx := t.Context()
		a := p.take("a", 2)
		b := p.take("b", 2)
		p.refused("c", 2)
		if again := p.take("a", 2); !again.Joined || again.Stamp == a.Stamp {
			t.Errorf("a place that was taken twice: %+v", again)
		}
		p.must(p.s.ReleasePlace(ctx, b))
		p.refused("c", 2, "seen") // somebody knows of one without a place
		p.refused("c", 2, "seen", "a")
		c := p.take("c", 2, "a", "c")
		p.must(p.s.SettlePlace(ctx, c, "node"))
		if on := p.on("node"); len(on) != 1 || on[0].SandboxID != "c" || !on[0].HeldUntil.IsZero() {
			t.Errorf("%+v", on)
		}
		p.refused("d", 2)
		p.must(p.s.FreePlace(ctx, "c", false))
		p.take("d", 2)
		p.must(p.s.FreePlace(ctx, "d", false)) // somebody starts it
		p.refused("e", 2)
		p.must(p.s.FreePlace(ctx, "d", true))
		p.take("e", 2)

		_, err := p.s.TakePlace(ctx, shoal.PlaceRequest{TeamID: "team", SandboxID: "f", Paused: []string{"x", "y", "e"},
			Limits: shoal.TeamLimits{ConcurrentSandboxes: 10, Sandboxes: 4}})
		if !shoal.ErrSandboxLimit.Matches(err) {
			t.Errorf("all sandboxes: %v", err)
		}
		if _, err := p.s.TakePlace(ctx, shoal.PlaceRequest{TeamID: "nobody", SandboxID: "z"}); err == nil {
			t.Error("an unknown team has a place")
		}
	})
}

// TestPlacesOfResumes: a place that a sandbox had stays if its resume fails, and is not given away by who
// read it before.
func TestPlacesOfResumes(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		p := openPlaces(t, location)
		ctx := t.Context()
		p.must(p.s.SettlePlace(ctx, p.take("a", 1), "node"))
		before := p.on("node")
		resume := p.take("a", 1)
		if !resume.Joined {
			t.Error("it had none")
		}
		p.must(p.s.ComparePlaces(ctx, "node", before, nil)) // an old list, without the sandbox
		p.must(p.s.ComparePlaces(ctx, "node", p.on("node"), nil))
		p.refused("b", 1)
		p.must(p.s.ReleasePlace(ctx, resume))
		p.refused("b", 1)
		p.must(p.s.ComparePlaces(ctx, "node", p.on("node"), nil))
		p.take("b", 1)
	})
}

func TestComparePlaces(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		p := openPlaces(t, location)
		ctx := t.Context()
		of := func(ids ...string) (list []shoal.Sandbox) {
			for _, id := range ids {
				list = append(list, shoal.Sandbox{Spec: shoal.Spec{SandboxID: id, TeamID: "team"}})
			}
			return list
		}
		p.must(p.s.SettlePlace(ctx, p.take("ended", 9), "node"))
		p.must(p.s.SettlePlace(ctx, p.take("runs", 9), "node"))
		p.must(p.s.SettlePlace(ctx, p.take("elsewhere", 9), "other"))
		p.take("starts", 9)
		before := p.on("node")
		p.must(p.s.SettlePlace(ctx, p.take("new", 9), "node")) // after the list was asked for
		foreign := shoal.Sandbox{Spec: shoal.Spec{SandboxID: "foreign", TeamID: "gone"}}
		p.must(p.s.ComparePlaces(ctx, "node", before, append(of("runs", "by itself"), foreign)))
		have := map[string]bool{}
		for _, place := range append(p.on("node"), p.on("other")...) {
			have[place.SandboxID] = true
		}
		if want := map[string]bool{"runs": true, "by itself": true, "elsewhere": true, "new": true}; fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("%v", have)
		}
		p.refused("x", 5) // four of those and one that starts
		p.take("x", 6)
	})
}

// TestPlacesExpire: what nobody renews is not counted for ever, and what runs is.
func TestPlacesExpire(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		p := openPlaces(t, location)
		ctx := t.Context()
		p.must(p.s.SettlePlace(ctx, p.take("a", 1), "node"))
		past := func(by time.Duration) {
			_, err := p.s.db.ExecContext(ctx, "UPDATE places SET expires_at = expires_at - $1, held_until = 0", by.Microseconds())
			p.must(err)
		}
		past(placeKept * 2 / 3)
		p.must(p.s.ComparePlaces(ctx, "node", p.on("node"), []shoal.Sandbox{{Spec: shoal.Spec{SandboxID: "a", TeamID: "team"}}}))
		past(placeKept * 2 / 3)
		p.refused("b", 1)
		past(placeKept)
		b := p.take("b", 1)
		if again := p.take("a", 2); again.Joined {
			t.Error("an expired place is one")
		}
		past(placeHeld * 2)
		p.take("c", 1)
		p.must(p.s.ComparePlaces(ctx, "node", []shoal.Place{b}, nil)) // which removes what has expired
		var n int
		p.must(p.s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM places WHERE sandbox_id = 'a'").Scan(&n))
		if n != 0 {
			t.Error("an expired place stays")
		}
	})
}

// TestPlacesTogether: two processes on one database give no more than there is, and all of it.
func TestPlacesTogether(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		p := openPlaces(t, location)
		both := []*Store{p.s, openStore(t, location)}
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for i := range 60 {
			wg.Go(func() {
				_, err := both[i%2].TakePlace(t.Context(), p.request(fmt.Sprint("sandbox", i), 17))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					taken++
				case !shoal.ErrConcurrencyLimit.Matches(err):
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if taken != 17 {
			t.Errorf("%d of 17 places were given", taken)
		}
	})
}
