package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/test/metrics"
)

// used is what GET /sandboxes/{id}/metrics answers.
type used struct {
	TimestampUnix int64
	CPUCount      int
	CPUUsedPct    float64
	MemUsed       int64
	MemTotal      int64
	DiskUsed      int64
	DiskTotal     int64
}

func (b *box) used(t *testing.T, key, path string) (list []used) {
	t.Helper()
	status, body := b.callAs(t, key, "GET", path, "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return list
}

// TestMetricsStay: a sandbox's metrics come within 15 s, by the SDKs and the command line; a pause
// adds none and loses none; they are there after the sandbox's end and after a crash of Shoal; and
// they are its team's alone (api.md §3.13, §7.6 53).
func TestMetricsStay(t *testing.T) {
	c, stranger := server.create(t), otherTeam(t)
	path := "/sandboxes/" + c.SandboxID + "/metrics"
	of := func() []used { return server.used(t, shoal.DevAPIKey, path) }
	eventually(t, 15*time.Second, "the first sample", func() bool { return len(of()) > 0 })
	first := of()[0]
	if first.CPUCount == 0 || first.CPUUsedPct == 0 || first.MemUsed == 0 || first.MemTotal == 0 || first.DiskUsed == 0 ||
		first.DiskTotal == 0 {
		t.Errorf("a field of the first sample is zero: %+v", first)
	}
	server.python(t, `
from e2b import Sandbox
list = Sandbox.get_metrics("`+c.SandboxID+`")
assert list and list[-1].mem_used > 0 and list[-1].cpu_used_pct > 0, list
`)
	out, err := server.cli(t, t.TempDir(), "sandbox", "metrics", c.SandboxID, "--format", "json")
	if err != nil || !strings.Contains(out, "cpuUsedPct") {
		t.Errorf("e2b sandbox metrics: %v\n%s", err, out)
	}
	for _, other := range []string{path, "/sandboxes/metrics?sandbox_ids=" + c.SandboxID} {
		if status, body := server.callAs(t, stranger, "GET", other, ""); status != 200 || strings.Contains(body, "cpu") {
			t.Errorf("another team reads %s: %d %s", other, status, body)
		}
	}

	server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", `{}`)
	paused := len(of())
	restartServer(t)
	if got := len(of()); got != paused {
		t.Errorf("%d samples after a restart, and %d before", got, paused)
	}
	server.demand(t, 201, "POST", "/sandboxes/"+c.SandboxID+"/connect", `{"timeout":300}`)
	eventually(t, 20*time.Second, "samples after the resume", func() bool { return len(of()) > paused })
	server.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
	if got := of(); len(got) <= paused || got[0] != first {
		t.Errorf("after the sandbox's end: %v", got)
	}
	if got := server.used(t, stranger, path); len(got) != 0 {
		t.Errorf("another team, after its end: %v", got)
	}
	admin := server.administer(t, "/admin"+path)
	if !strings.Contains(admin, `"hostMemBytes"`) || !strings.Contains(admin, `"guest"`) {
		t.Errorf("the machine's view: %s", admin)
	}
}

// restartServer ends Shoal as an operator does, and starts it again.
func restartServer(t *testing.T) {
	t.Helper()
	if err := up.Stop(syscall.SIGTERM, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
}

// administer makes an API request with the admin token.
func (b *box) administer(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+b.API+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Admin-Token", shoal.DevAdminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("GET %s: %d %v", path, resp.StatusCode, err)
	}
	return string(body)
}

// TestFollowMetrics: `e2b sandbox metrics --follow` prints further samples as they come.
func TestFollowMetrics(t *testing.T) {
	c := server.create(t)
	binary, err := filepath.Abs("../js/node_modules/.bin/e2b")
	if err != nil {
		t.Fatal(err)
	}
	printed, err := os.Create(filepath.Join(t.TempDir(), "printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	follow := exec.CommandContext(t.Context(), binary, "sandbox", "metrics", "--follow", "--format", "json", c.SandboxID)
	follow.Env = append(server.SDKEnv(), "HOME="+t.TempDir(), "NO_COLOR=1")
	follow.Stdout, follow.Stderr = printed, printed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	times := func() []string {
		text, err := os.ReadFile(printed.Name())
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for line := range strings.Lines(string(text)) {
			var m struct{ Timestamp string }
			if json.Unmarshal([]byte(line), &m) == nil && m.Timestamp != "" {
				list = append(list, m.Timestamp)
			}
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	eventually(t, 40*time.Second, "three samples are followed", func() bool { return len(times()) >= 3 })
	_ = follow.Process.Kill()
	_ = follow.Wait()
}

// TestTeamMetrics: a team's metrics tell of its sandboxes within a minute, and of no other
// team's (api.md §3.15, §7.6 54).
func TestTeamMetrics(t *testing.T) {
	team, key, err := server.AddTeam(t.Context(), shoal.DefaultTeamLimits())
	if err != nil {
		t.Fatal(err)
	}
	path := "/teams/" + team + "/metrics"
	empty := func() string {
		_, body := server.callAs(t, key, "GET", path+"/max?metric=concurrent_sandboxes", "")
		return body
	}
	if !strings.Contains(empty(), `"value":0`) {
		t.Errorf("before the first sandbox: %s", empty())
	}
	status, body := server.callAs(t, key, "POST", "/v2/sandboxes", `{"templateID":"base"}`)
	var c created
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != 201 {
		t.Fatalf("create: %d %s", status, body)
	}
	var points []struct {
		ConcurrentSandboxes int
		SandboxStartRate    float64
	}
	eventually(t, time.Minute, "the team's metrics", func() bool {
		status, body := server.callAs(t, key, "GET", fmt.Sprintf("%s?start=%d", path, time.Now().Unix()-600), "")
		if err := json.Unmarshal([]byte(body), &points); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return len(points) > 0
	})
	rate := 0.0
	for _, p := range points {
		rate += p.SandboxStartRate
		if p.ConcurrentSandboxes != 1 {
			t.Errorf("%d sandboxes at a time", p.ConcurrentSandboxes)
		}
	}
	if rate != 0.2 { // one in five seconds
		t.Errorf("%g sandboxes a second in sum", rate)
	}
	for metric, want := range map[string]string{"concurrent_sandboxes": `"value":1`, "sandbox_start_rate": `"value":0.001111`} {
		if _, body := server.callAs(t, key, "GET", path+"/max?metric="+metric, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s", metric, body)
		}
	}
	for _, foreign := range []string{path, path + "/max?metric=concurrent_sandboxes"} {
		if status, body := server.call(t, "GET", foreign, ""); status != 403 || !strings.Contains(body, "not authorized") {
			t.Errorf("another team reads %s: %d %s", foreign, status, body)
		}
	}
	server.callAs(t, key, "DELETE", "/sandboxes/"+c.SandboxID, "")
}

// TestPrometheus: what an installation exports is what docs/metrics.md says, all of it and
// nothing else.
func TestPrometheus(t *testing.T) {
	// Exported where Redis or a ClickHouse server is configured, which this installation has none of.
	ofServer := regexp.MustCompile(`^shoal_(redis_.+|apis|duty_leading|archive_.+)$`)
	c := server.create(t)
	server.demand(t, 204, "DELETE", "/sandboxes/"+c.SandboxID, "")
	table, err := metrics.Documented(repository)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + server.Health + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	families, err := metrics.Families(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range metrics.Differences(families, table) {
		t.Error(difference)
	}
	for name := range table {
		if families[name] == nil && !ofServer.MatchString(name) {
			t.Errorf("%s is documented and not exported", name)
		}
	}
	created := 0.0
	for _, m := range families["shoal_sandbox_operations_total"].GetMetric() {
		values := map[string]string{}
		for _, pair := range m.GetLabel() {
			values[pair.GetName()] = pair.GetValue()
		}
		if values["operation"] == "create" && values["outcome"] == "ok" {
			created = m.GetCounter().GetValue()
		}
	}
	if created < 1 {
		t.Errorf("%g sandboxes were created", created)
	}
}
