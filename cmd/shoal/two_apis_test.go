package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/freeport"
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
	os.Exit(storetest.Main(m)) // ends the Postgres that tests have started
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
	dirs      []string  // of data and of running guests
	said      [2]*syncedBuffer
}

const adminToken = "an admin token of the tests"

func openTwo(t *testing.T) *twoAPIs {
	t.Helper()
	return openTwoOn(t, storetest.NewDatabase(t))
}

func openTwoOn(t *testing.T, database string) *twoAPIs {
	t.Helper()
	two := &twoAPIs{t: t, redis: livetest.Start(t), node: fleettest.New("n", shoal.Build{ID: "b1",
		TemplateID: shoal.BaseTemplateID, Status: shoal.BuildReady, ImageDigest: "base", EnvdVersion: "0.6.13",
		CreatedAt: time.Unix(1, 0).UTC(), Resources: shoal.Resources{CPUCount: 1, MemoryMB: 512, DiskMB: 512}})}
	machine := httptest.NewUnstartedServer(nil)
	machine.Config = rpc.NewServer(rpc.NewHandler(two.node, "secret", http.NotFoundHandler()))
	machine.Start()
	t.Cleanup(machine.Close)
	two.shared = []string{"--dev", "--database", database, "--redis", two.redis.URL(), "--nodes", machine.URL,
		"--node-secret=secret", "--token-seed=seed", "--seal-secret=seal", "--admin-token", adminToken}
	for i := range two.processes {
		two.start(i)
	}
	eventually(t, "both know each other", func() bool { return two.health(0) == ready && two.health(1) == ready })
	return two
}

// shoal is a command with settings that lead to the same database.
func (two *twoAPIs) shoal(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append(args, two.shared...)...)
	data, running := two.t.TempDir(), two.t.TempDir()
	two.dirs = append(two.dirs, data, running)
	cmd.Args = append(cmd.Args, "--data-dir", data, "--run-dir", running)
	cmd.Env = append(os.Environ(), asShoal+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive the tests
	return cmd
}

func (two *twoAPIs) start(i int) {
	t := two.t
	listen, probe := freeport.Address(freeport.Of(t)), freeport.Address(freeport.Of(t))
	cmd := two.shoal("api", "--api-listen", listen, "--metrics-listen", probe)
	said := &syncedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Exited() {
			t.Errorf("api %d: %v", i, err)
		}
		if t.Failed() {
			t.Logf("api %d:\n%s", i, said)
		}
	})
	two.said[i] = said
	two.processes[i], two.urls[i], two.probes[i] = cmd, "http://"+listen, "http://"+probe
}

// syncedBuffer is what a process has said, also while it runs.
type syncedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *syncedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *syncedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

const (
	ready    = "api ready\n"
	degraded = "api ready without redis\n"
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

// ask sends a request to one of the apis, by the development key and with further headers, which are a
// name and a value each.
func (two *twoAPIs) ask(api int, method, path string, body any, headers ...string) answer {
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
	r.Header.Set(auth.HeaderAPIKey, shoal.DevAPIKey)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
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
