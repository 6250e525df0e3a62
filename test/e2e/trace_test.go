package e2e

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/telemetry/otlp/otlptest"
)

// startCollector serves a collector of OpenTelemetry's protocol and returns the settings by which an
// installation sends to it.
func startCollector(t *testing.T) (*otlptest.Collector, []string) {
	t.Helper()
	c := otlptest.New()
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	return c, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + server.URL, "SHOAL_OTLP_INTERVAL=1s"}
}

// checkTrace has an SDK program create a sandbox and run a command in it, as part of one trace, and
// holds what the collector gets of it to the way through the roles, which run apart.
func (i *box) checkTrace(t *testing.T, collector *otlptest.Collector) {
	t.Helper()
	const id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	out := i.python(t, `
from e2b import Sandbox, connection_config
parent = {"traceparent": "00-`+id+`-`+caller+`-01", "baggage": "key=words-of-a-tenant"}
own = connection_config.ConnectionConfig.sandbox_headers
connection_config.ConnectionConfig.sandbox_headers = property(lambda self: {**own.fget(self), **parent})
s = Sandbox.create(api_headers=parent, envs={"SECRET": "words-of-a-tenant"})
print(s.sandbox_id, s.commands.run("echo words-of-a-tenant > /dev/null; echo done").stdout)
s.kill()
`)
	sandbox, said, _ := strings.Cut(strings.TrimSpace(out), " ")
	if said != "done" {
		t.Fatalf("the program printed %q", out)
	}
	// Each span, by the role that made it, and the one that it is part of.
	way := []struct{ role, name, part string }{
		{"api", "POST /v2/sandboxes", ""},
		{"api", "fleet.place", "POST /v2/sandboxes"},
		{"api", "rpc", "fleet.place"},
		{"orchestrator", "node", "rpc"},
		{"orchestrator", "orchestrator.create", "node"},
		{"orchestrator", "envd_init", "orchestrator.create"},
		{"proxy", "proxy", ""},
		{"proxy", "proxy.answer", "proxy"},
		{"orchestrator", "node proxy", "proxy.answer"},
		{"orchestrator", "proxy.answer", "node proxy"},
		{"orchestrator", "orchestrator.kill", "node"},
	}
	var spans []otlptest.Span
	missing := func() (list []string) {
		spans = collector.Trace(id)
		for _, want := range way {
			if !slices.ContainsFunc(spans, func(s otlptest.Span) bool {
				return s.Role == want.role && s.Name == want.name && partOf(spans, s, want.part, caller)
			}) {
				list = append(list, want.role+": "+want.name+" in "+want.part)
			}
		}
		return list
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if !collector.Await(ctx, func() bool { return len(missing()) == 0 }) {
		t.Errorf("the trace lacks %q of %+v", missing(), spans)
	}
	for _, s := range spans {
		if of := s.Attributes["shoal.sandbox"]; of != "" && of != sandbox {
			t.Errorf("a span of another sandbox, %s: %+v", sandbox, s)
		}
		for key, value := range s.Attributes {
			if strings.Contains(value, "words-of-a-tenant") {
				t.Errorf("%s says %s = %q", s.Name, key, value)
			}
		}
		if s.Failed {
			t.Errorf("failed: %+v", s)
		}
	}
	if !collector.Await(ctx, func() bool {
		return collector.Metric("shoal_sandbox_operations_total") != nil && collector.Metric("shoal_api_requests_total") != nil &&
			len(collector.Lines("sandbox created")) > 0
	}) {
		t.Error("the collector lacks metrics or lines of the log")
	}
}

// partOf reports whether a span's parent has a name, or is the caller's if there is none.
func partOf(spans []otlptest.Span, s otlptest.Span, name, caller string) bool {
	if name == "" {
		return s.Parent == caller
	}
	return slices.ContainsFunc(spans, func(p otlptest.Span) bool { return p.ID == s.Parent && p.Name == name })
}

// checkOperator changes the level of the log of each role, and asks each for its health and for a
// profile.
func (i *box) checkOperator(t *testing.T, roles ...string) {
	t.Helper()
	out, err := i.Run(t.Context(), "log-level", "info,proxy=debug", "--json")
	if err != nil {
		t.Errorf("shoal log-level: %v", err)
	}
	for _, role := range roles {
		if !strings.Contains(out, `"`+role+`": "info,proxy=debug"`) {
			t.Errorf("%s is missing: %s", role, out)
		}
		socket := filepath.Join(i.RunDir, "operator", role+".sock")
		if info, err := os.Stat(filepath.Dir(socket)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v", filepath.Dir(socket), err)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}}}
		resp, err := client.Get("http://shoal/debug/pprof/heap")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the profile of %s: %v %v", role, resp, err)
			continue
		}
		resp.Body.Close()
	}
	if out, err := i.Run(t.Context(), "log-level", "info,kitchen=debug"); err == nil || !strings.Contains(out, "no room") {
		t.Errorf("a room that is not there: %v %s", err, out)
	}
	resp, err := http.Get("http://" + i.Health + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the proxy is not ready: %v %v", resp, err)
		return
	}
	resp.Body.Close()
}
