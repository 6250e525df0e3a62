package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/live/livetest"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/shoal"
	"shoal/internal/store/storetest"
)

// asShoal has the test's program be shoal.
const asShoal = "SHOAL_TEST_IS_SHOAL"

func TestMain(m *testing.M) {
	if os.Getenv(asShoal) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// twoAPIs are two processes of the role api on one Postgres, one Redis and one machine. The machine speaks
// the orchestrator's RPC and runs nothing: what is looked at here is the apis' affair.
type twoAPIs struct {
	t         *testing.T
	redis     *livetest.Redis
	node      *fleettest.Node
	shared    []string // settings of all processes
	processes [2]*exec.Cmd
	urls      [2]string
	probes    [2]string // where health and metrics are
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
	two.shared = []string{"--dev", "--database", database, "--redis", two.redis.URL(), "--nodes", machine.URL,
		"--node-secret=secret", "--token-seed=seed", "--admin-token", adminToken}
	for i := range two.processes {
		two.start(i)
	}
	eventually(t, "both know each other", func() bool { return two.health(0) == ready && two.health(1) == ready })
	return two
}

// shoal is a command with settings that lead to the same database.
func (two *twoAPIs) shoal(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append(args, two.shared...)...)
	cmd.Args = append(cmd.Args, "--data-dir", two.t.TempDir(), "--run-dir", two.t.TempDir())
	cmd.Env = append(os.Environ(), asShoal+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive the tests
	return cmd
}

func (two *twoAPIs) start(i int) {
	t := two.t
	listen, probe := freeAddress(t), freeAddress(t)
	cmd := two.shoal("api", "--api-listen", listen, "--metrics-listen", probe)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
			t.Errorf("api %d: %v", i, err)
		}
		if t.Failed() {
			t.Logf("api %d:\n%s", i, said.Bytes())
		}
	})
	two.processes[i], two.urls[i], two.probes[i] = cmd, "http://"+listen, "http://"+probe
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

const (
	ready    = "api ready\n"
	degraded = "api degraded\n"
)

// health is what an api says of itself; "" while it does not serve.
func (two *twoAPIs) health(api int) string {
	resp, err := http.Get(two.probes[api] + "/readyz")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
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
		return answer{} // it was killed
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

// limit sets a limit of the team, by a command, before the apis have heard of the team.
func (two *twoAPIs) limit(name string, n int) {
	two.t.Helper()
	if out, err := two.shoal("team", "limits", shoal.DevTeamSlug, fmt.Sprintf("--%s=%d", name, n)).CombinedOutput(); err != nil {
		two.t.Fatalf("%v\n%s", err, out)
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
