package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/live/livetest"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/store/storetest"
	"shoal/internal/telemetry/logging"
)

// twoAPIs are two api roles, each with connections, caches and a port of its own, on one Postgres, one
// Redis and one machine. The machine speaks the orchestrator's RPC and runs nothing: what is looked at
// here is the apis' affair.
type twoAPIs struct {
	t     *testing.T
	redis *livetest.Redis
	node  *fleettest.Node
	store *store.Store
	apis  [2]*ControlPlane
	urls  [2]string
}

const adminToken = "an admin token of the tests"

func openTwo(t *testing.T) *twoAPIs {
	t.Helper()
	pg, err := storetest.Start()
	if errors.Is(err, storetest.ErrMissing) {
		t.Skip(err)
	}
	must(t, err)
	t.Cleanup(pg.Stop)
	database, err := pg.Database(t.Context())
	must(t, err)
	two := &twoAPIs{t: t, redis: livetest.Start(t), node: fleettest.New("n", shoal.Build{ID: "b1",
		TemplateID: shoal.BaseTemplateID, Status: shoal.BuildReady, ImageDigest: "base", EnvdVersion: "0.6.13",
		CreatedAt: time.Unix(1, 0).UTC(), Resources: shoal.Resources{CPUCount: 1, MemoryMB: 512, DiskMB: 512}})}
	machine := httptest.NewUnstartedServer(nil)
	machine.Config = rpc.NewServer(rpc.NewHandler(two.node, "secret", http.NotFoundHandler()))
	machine.Start()
	t.Cleanup(machine.Close)
	two.store, err = store.Open(t.Context(), database)
	must(t, err)
	t.Cleanup(func() { two.store.Close() })
	for i := range two.apis {
		cfg := &config.Config{DataDir: t.TempDir(), Dev: true, UploadLimit: 1, BuildSlots: 1, Database: database,
			Redis: two.redis.URL(), AuditDays: 1, AdminToken: adminToken}
		two.open(i, cfg, machine.URL)
	}
	eventually(t, "both know each other", func() bool {
		return two.apis[0].Ready(t.Context()) == nil && two.apis[1].Ready(t.Context()) == nil
	})
	return two
}

func (two *twoAPIs) open(i int, cfg *config.Config, machine string) {
	t := two.t
	nodes, err := rpc.NewClients([]string{machine}, "secret")
	must(t, err)
	levels, err := logging.Parse("info")
	must(t, err)
	log := slog.New(levels.Handler(slog.DiscardHandler))
	api, err := Open(t.Context(), cfg, config.Secrets{TokenSeed: "seed"}, nodes, build.NoEngine{}, log)
	must(t, err)
	server := httptest.NewServer(api.Server().Handler)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		must(t, api.Close())
	})
	two.apis[i], two.urls[i] = api, server.URL
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// answer is what an api said.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// ask sends a request to one of the apis, by the development key unless another one is given.
func (two *twoAPIs) ask(api int, method, path string, body any, key ...string) answer {
	two.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(two.t.Context(), method, two.urls[api]+path, bytes.NewReader(text))
	if err != nil {
		two.t.Error(err)
		return answer{}
	}
	r.Header.Set("Content-Type", "application/json")
	credential := shoal.DevAPIKey
	if len(key) > 0 {
		credential = key[0]
	}
	if credential == adminToken {
		r.Header.Set(auth.HeaderAdminToken, credential)
	} else {
		r.Header.Set(auth.HeaderAPIKey, credential)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		two.t.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	text, _ = io.ReadAll(resp.Body)
	_ = json.Unmarshal(text, &a.body)
	return a
}

func (two *twoAPIs) create(api int) answer {
	return two.ask(api, http.MethodPost, "/v2/sandboxes", map[string]any{"templateID": shoal.BaseTemplateID})
}

// limit sets a limit of the team, and has both apis know it.
func (two *twoAPIs) limit(name string, n int64) {
	two.t.Helper()
	values, own, err := shoal.ParseLimits(map[string]int64{name: n})
	must(two.t, err)
	_, err = two.store.ChangeLimits(two.t.Context(), shoal.DevTeamID, shoal.LimitChange{Set: own, Values: values})
	must(two.t, err)
	for _, api := range two.apis {
		api.auth.Forget()
	}
}

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
	for i, api := range two.apis {
		if err := api.Ready(t.Context()); !errors.As(err, new(endpoint.Degraded)) {
			t.Errorf("api %d: %v", i, err)
		}
	}
	end()
	two.redis.Restart()
	eventually(t, "healed", func() bool {
		return two.apis[0].Ready(t.Context()) == nil && two.apis[1].Ready(t.Context()) == nil
	})
	is("Redis is back", two.storm(200, func() {}), most, 200-most)
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
		made := two.ask(0, http.MethodPost, path, map[string]any{"name": "one"}, adminToken)
		if made.status != http.StatusCreated {
			t.Fatalf("%d %v", made.status, made.body)
		}
		key, known := fmt.Sprint(made.body["key"]), time.Now()
		if a := two.ask(1, http.MethodGet, "/sandboxes", nil, key); a.status != http.StatusOK {
			t.Fatalf("%d %v", a.status, a.body)
		}
		if a := two.ask(0, http.MethodDelete, path+"/"+fmt.Sprint(made.body["id"]), nil, adminToken); a.status != http.StatusNoContent {
			t.Fatalf("%d %v", a.status, a.body)
		}
		eventually(t, "refused", func() bool {
			return two.ask(1, http.MethodGet, "/sandboxes", nil, key).status == http.StatusUnauthorized
		})
		if time.Since(known) < auth.CacheTTL {
			return
		} // this machine was too busy to tell
	}
	t.Errorf("the key was let in until its time had passed, %s", auth.CacheTTL)
}

// TestTwoAPIsLogLevel: both log what one was told to.
func TestTwoAPIsLogLevel(t *testing.T) {
	two := openTwo(t)
	a := two.ask(0, http.MethodPut, "/admin/log-level", map[string]any{"levels": "warn,fleet=debug"}, adminToken)
	if a.status != http.StatusOK {
		t.Fatalf("%d %v", a.status, a.body)
	}
	eventually(t, "the other one too", func() bool {
		return two.ask(1, http.MethodGet, "/admin/log-level", nil, adminToken).body["levels"] == a.body["levels"]
	})
}
