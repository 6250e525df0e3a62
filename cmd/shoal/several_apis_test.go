package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

const most = 20

// storm has many creates come at once to both apis, and returns how many there were of each status. Those
// that the apis let through wait in the machine until all others were answered, so that more than the
// team may have would be there at once. begun is called when the first is in the machine.
func (two *twoAPIs) storm(creates int, begun func()) map[int]int {
	t := two.t
	gate := make(chan struct{})
	var once, first sync.Once
	open := func() { once.Do(func() { close(gate) }) }
	defer open()
	var inside, answered atomic.Int32
	two.node.OnCreate(func(ctx context.Context, _ shoal.Spec) error {
		first.Do(begun)
		if n := inside.Add(1); n > most {
			t.Errorf("%d sandboxes of a team that may have %d", n, most)
			open()
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for i := range creates {
		wg.Go(func() {
			a := two.create(i % 2)
			mu.Lock()
			statuses[a.status]++
			mu.Unlock()
			if int(answered.Add(1)) == creates-most {
				open()
			}
		})
	}
	wg.Wait()
	return statuses
}

// count is how many sandboxes the machine has.
func (two *twoAPIs) count() int {
	list, err := two.node.List(two.t.Context())
	must(two.t, err)
	return len(list)
}

// TestTwoAPIsHoldTheLimit: 200 creates at once, by two apis, make exactly as many sandboxes as the team
// may have; the same after some have ended, with Redis lost in the middle, and when it is back.
func TestTwoAPIsHoldTheLimit(t *testing.T) {
	two := openTwo(t)
	two.limit("concurrent-sandboxes", most)
	is := func(when string, statuses map[int]int, made, refused int) {
		t.Helper()
		if statuses[http.StatusCreated] != made || statuses[http.StatusTooManyRequests] != refused || len(statuses) != 2 {
			t.Errorf("%s: %v", when, statuses)
		}
		if n := two.count(); n != most {
			t.Errorf("%s: the machine has %d", when, n)
		}
	}
	end := func() { // at one api, so that the other one only hears of it
		list, err := two.node.List(t.Context())
		must(t, err)
		for _, sb := range list {
			if a := two.ask(0, http.MethodDelete, "/sandboxes/"+sb.SandboxID, nil); a.status != http.StatusNoContent {
				t.Errorf("kill: %d", a.status)
			}
		}
	}
	is("first", two.storm(200, func() {}), most, 200-most)
	for api := range 2 {
		if a := two.create(api); a.status != http.StatusTooManyRequests {
			t.Errorf("one more: %d", a.status)
		}
	}
	end()
	is("again", two.storm(200, func() {}), most, 200-most)
	end()
	is("Redis is lost", two.storm(200, two.redis.Kill), most, 200-most)
	end()
	is("Redis is away", two.storm(200, func() {}), most, 200-most)
	for api := range 2 {
		if said := two.health(api); said != degraded {
			t.Errorf("api %d: %q", api, said)
		}
	}
	end()
	two.redis.Restart()
	eventually(t, "healed", func() bool { return two.health(0) == ready && two.health(1) == ready })
	is("Redis is back", two.storm(200, func() {}), most, 200-most)
}

// TestKilledAPI: places that an api had taken when it was killed are not given again while its creates may
// go on, and what it alone did is done by the other one.
func TestKilledAPI(t *testing.T) {
	two := openTwo(t)
	two.limit("concurrent-sandboxes", most)
	statuses := two.storm(200, func() { _ = two.processes[0].Process.Kill() })
	if n := two.count(); n > most || n < statuses[http.StatusCreated] {
		t.Errorf("the machine has %d; %v", n, statuses)
	}
	eventually(t, "the other one is alone", func() bool { return two.metric(1, "shoal_apis") == "1" })
	for _, duty := range []string{"events", "tally", "retention"} {
		eventually(t, duty+" is done", func() bool { return two.metric(1, `shoal_duty_leading{duty="`+duty+`"}`) == "1" })
	}
}

// metric is a value that an api exports.
func (two *twoAPIs) metric(api int, name string) string {
	resp, err := http.Get(two.probes[api] + "/metrics")
	must(two.t, err)
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestTwoAPIsEndedSandboxes: what ended by itself or at the other api makes room.
func TestTwoAPIsEndedSandboxes(t *testing.T) {
	two := openTwo(t)
	two.limit("concurrent-sandboxes", 1)
	for round := range 4 {
		a := two.create(round % 2)
		if a.status != http.StatusCreated {
			t.Fatalf("round %d: %d %v", round, a.status, a.body)
		}
		id := fmt.Sprint(a.body["sandboxID"])
		if other := two.create(1 - round%2); other.status != http.StatusTooManyRequests {
			t.Errorf("round %d: the other api: %d", round, other.status)
		}
		if round < 2 {
			two.node.Drop(id)
			continue
		}
		// The other api has not asked the machine for a list since; Redis or the machine tells it.
		if got := two.ask(1-round%2, http.MethodPost, "/sandboxes/"+id+"/pause", map[string]any{}); got.status != http.StatusNoContent {
			t.Errorf("round %d: pause at the other api: %d %v", round, got.status, got.body)
		}
	}
}

// TestTwoAPIsRates: the rate is of both, and so are the headers.
func TestTwoAPIsRates(t *testing.T) {
	two := openTwo(t)
	two.limit("requests-per-second", 1) // and so 10 at once
	begun, granted, last := time.Now(), 0, 10
	for i := range 40 {
		a := two.ask(i%2, http.MethodGet, "/sandboxes", nil)
		left, err := strconv.Atoi(a.header.Get("RateLimit-Remaining"))
		if err != nil {
			t.Fatal(err)
		}
		if back := int(time.Since(begun).Seconds()) + 1; left > last-1+back {
			t.Errorf("request %d: %d left after %d", i, left, last)
		}
		if last = left; a.status == http.StatusOK {
			granted++
		}
	}
	if most := 10 + int(time.Since(begun).Seconds()) + 1; granted < 10 || granted > most {
		t.Errorf("%d requests of %d were granted", granted, most)
	}
}

// TestTwoAPIsForget: a key that is removed at one api is refused by the other, which had it in its memory,
// before its time there has passed.
func TestTwoAPIsForget(t *testing.T) {
	two := openTwo(t)
	path := "/admin/teams/" + shoal.DevTeamID + "/api-keys"
	for range 5 {
		made := two.ask(0, http.MethodPost, path, map[string]any{"name": "one"}, auth.HeaderAdminToken, adminToken)
		if made.status != http.StatusCreated {
			t.Fatalf("%d %v", made.status, made.body)
		}
		key, known := fmt.Sprint(made.body["key"]), time.Now()
		if a := two.ask(1, http.MethodGet, "/sandboxes", nil, auth.HeaderAPIKey, key); a.status != http.StatusOK {
			t.Fatalf("%d %v", a.status, a.body)
		}
		if a := two.ask(0, http.MethodDelete, path+"/"+fmt.Sprint(made.body["id"]), nil,
			auth.HeaderAdminToken, adminToken); a.status != http.StatusNoContent {
			t.Fatalf("%d %v", a.status, a.body)
		}
		eventually(t, "refused", func() bool {
			return two.ask(1, http.MethodGet, "/sandboxes", nil, auth.HeaderAPIKey, key).status == http.StatusUnauthorized
		})
		if time.Since(known) < auth.CacheTTL {
			return
		} // this machine was too busy to tell
	}
	t.Errorf("the key was let in until its time had passed, %s", auth.CacheTTL)
}

// TestTwoAPIsIdempotency: creates with one key make one sandbox, whichever apis they come to.
func TestTwoAPIsIdempotency(t *testing.T) {
	two := openTwo(t)
	create := func(api int) answer {
		return two.ask(api, http.MethodPost, "/v2/sandboxes", map[string]any{"templateID": shoal.BaseTemplateID},
			"Idempotency-Key", "one")
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	ids := map[any]bool{}
	for i := range 40 {
		wg.Go(func() {
			a := create(i % 2)
			mu.Lock()
			defer mu.Unlock()
			switch a.status {
			case http.StatusCreated:
				ids[a.body["sandboxID"]] = true
			case http.StatusConflict:
			default:
				t.Errorf("%d %v", a.status, a.body)
			}
		})
	}
	wg.Wait()
	for api := range 2 {
		a := create(api)
		ids[a.body["sandboxID"]] = true
	}
	if n := two.count(); n != 1 || len(ids) != 1 {
		t.Errorf("%d sandboxes; answers name %v", n, ids)
	}
}

// TestTwoAPIsLogLevel: both log what one was told to.
func TestTwoAPIsLogLevel(t *testing.T) {
	two := openTwo(t)
	a := two.ask(0, http.MethodPut, "/admin/log-level", map[string]any{"levels": "warn,fleet=debug"},
		auth.HeaderAdminToken, adminToken)
	if a.status != http.StatusOK {
		t.Fatalf("%d %v", a.status, a.body)
	}
	eventually(t, "the other one too", func() bool {
		return two.ask(1, http.MethodGet, "/admin/log-level", nil, auth.HeaderAdminToken, adminToken).body["levels"] == a.body["levels"]
	})
}
