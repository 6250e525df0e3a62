package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/clickhouse/clickhousetest"
	"shoal/internal/shoal"
)

// TestArchive: what happened to a sandbox is answered after its machine has forgotten it, by a
// ClickHouse server that was away in between; while it is, everything goes on.
func TestArchive(t *testing.T) {
	kept := clickhousetest.Start(t)
	i := another(t, "archive", nil, "SHOAL_CLICKHOUSE="+kept.URL("shoal"), "SHOAL_CLICKHOUSE_PASSWORD="+kept.Password())
	ready := func(want string) {
		t.Helper()
		eventually(t, 20*time.Second, want, func() bool {
			resp, err := http.Get("http://" + i.Health + "/readyz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return resp.StatusCode == 200 && strings.Contains(string(text), want)
		})
	}
	ready("api ready\n")
	c := i.create(t)
	i.write(t, c, "/home/user/f", "something")
	path := "/sandboxes/" + c.SandboxID
	eventually(t, 20*time.Second, "a sample", func() bool { return len(i.used(t, shoal.DevAPIKey, path+"/metrics")) > 1 })

	kept.Kill()
	i.demand(t, 204, "POST", path+"/pause", `{}`)
	i.demand(t, 204, "DELETE", path, "")
	ready("api ready without clickhouse\n")
	eventually(t, 20*time.Second, "the last event", func() bool { return whats(i.eventsOf(t, c.SandboxID)) == "created paused killed" })
	i.stop(syscall.SIGTERM)
	kept.Start()
	i.up()
	ready("api ready\n")
	eventually(t, 30*time.Second, "everything is copied", func() bool { return i.copied(t, kept, c.SandboxID) })

	logs := i.demand(t, 200, "GET", path+"/logs", "")
	used := i.demand(t, 200, "GET", path+"/metrics", "")
	if !strings.Contains(logs, "Sandbox created") || !strings.Contains(used, "cpuUsedPct") {
		t.Fatalf("logs: %s\nmetrics: %s", logs, used)
	}
	i.stop(syscall.SIGTERM)
	for _, name := range []string{"logs.db", "metrics.db"} {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(filepath.Join(i.DataDir, name+suffix)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	i.up()
	ready("api ready\n")
	if got := i.demand(t, 200, "GET", path+"/logs", ""); got != logs {
		t.Errorf("the log was\n%s\nand is\n%s", logs, got)
	}
	if got := i.demand(t, 200, "GET", path+"/metrics", ""); got != used {
		t.Errorf("the metrics were\n%s\nand are\n%s", used, got)
	}
	if got := whats(i.eventsOf(t, c.SandboxID)); got != "created paused killed" {
		t.Errorf("the events are %q", got)
	}
	kept.Kill()
	if got := whats(i.eventsOf(t, c.SandboxID)); got != "created paused killed" {
		t.Errorf("without the server, the events are %q", got)
	}
}

// copied reports whether a server has the end of a sandbox, as each table tells it.
func (r *running) copied(t *testing.T, from *clickhousetest.Server, sandboxID string) (all bool) {
	t.Helper()
	type row struct{ Killed, Lines, Samples int }
	err := clickhouse.Select(t.Context(), from.Client("shoal"), `SELECT
		(SELECT count() FROM sandbox_events FINAL WHERE sandbox_id = {id:String} AND type = 'sandbox.lifecycle.killed') AS Killed,
		(SELECT count() FROM sandbox_logs FINAL WHERE sandbox_id = {id:String} AND message = 'Sandbox ended') AS Lines,
		(SELECT count() FROM sandbox_metrics FINAL WHERE sandbox_id = {id:String}) AS Samples`,
		clickhouse.Params{"id": sandboxID}, func(found row) error {
			all = found.Killed == 1 && found.Lines == 1 && found.Samples > 1
			return nil
		})
	if err != nil {
		t.Error(err)
	}
	return all
}
