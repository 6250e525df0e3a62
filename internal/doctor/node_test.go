package doctor

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/fleet/fleettest"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// serveNode serves a machine's RPC as an orchestrator does, and returns its address.
func serveNode(t *testing.T, node shoal.Node, secret string) string {
	t.Helper()
	health := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	s := httptest.NewServer(rpc.NewHandler(node, secret, health))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// dated serves answers of another time.
func dated(h http.Handler, at time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", at.UTC().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	})
}

// TestMachines: one that is ready, and each way in which one can be wrong.
func TestMachines(t *testing.T) {
	node := fleettest.New("one")
	good := serveNode(t, node, "secret")
	draining := fleettest.New("two")
	draining.SetStatus(shoal.NodeDraining)
	late := httptest.NewServer(dated(rpc.NewHandler(node, "secret", http.NotFoundHandler()), time.Now().Add(-time.Hour)))
	t.Cleanup(late.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for name, c := range map[string]struct {
		address, secret, version string
		what                     string
		level                    Level
		found                    string
	}{
		"ready":         {good, "secret", "test", "machine answer", OK, "one at " + good + " is ready"},
		"with a scheme": {"http://" + good, "secret", "test", "machine answer", OK, "is ready"},
		"clock":         {good, "secret", "test", "machine clock", OK, "within"},
		"other version": {good, "secret", "1.2.3", "machine version", Note, "runs shoal test, this is 1.2.3"},
		"wrong secret":  {good, "other", "test", "machine secret", Fail, "refuses the secret"},
		"late":          {late.Listener.Addr().String(), "secret", "test", "machine clock", Warn, "behind"},
		"nobody":        {l.Addr().String(), "secret", "test", "machine answer", Fail, "does not answer"},
		"draining":      {serveNode(t, draining, "secret"), "secret", "test", "machine answer", Warn, "draining"},
		"two schemes":   {"http://http//" + good, "secret", "test", "machine address", Fail, "is not HOST:PORT"},
	} {
		cfg := settings(t)
		cfg.Nodes, cfg.NodeSecret = []string{c.address}, c.secret
		r := about(askNodes(t.Context(), cfg, API, c.version), c.what)
		if wants(t, r, c.level, c.found); t.Failed() {
			t.Fatalf("in the case %q", name)
		}
	}
}

// TestNoMachine: neither addresses nor a secret are made up.
func TestNoMachine(t *testing.T) {
	cfg := settings(t)
	wants(t, askNodes(t.Context(), cfg, API, "")[0], Fail, "no machine is named")
	cfg.Nodes = []string{"127.0.0.1:1"}
	wants(t, askNodes(t.Context(), cfg, API, "")[0], Fail, "secret is not known")
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "secrets")); err == nil {
		t.Error("the check has made a secret")
	}
}

// unknown is a machine's proxy that has no sandboxes.
type unknown struct{ proxy.Resolver }

func (unknown) Resolve(_ context.Context, r proxy.Request) (proxy.Target, error) {
	return proxy.Target{}, shoal.NotFound(r.SandboxID)
}

// TestMachineTraffic: a proxy is told when the machine's own cannot be reached, or is another
// program.
func TestMachineTraffic(t *testing.T) {
	own := httptest.NewServer(proxy.New(unknown{}, slog.New(slog.DiscardHandler)))
	t.Cleanup(own.Close)
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	cfg := settings(t)
	cfg.Nodes, cfg.NodeSecret = []string{serveNode(t, fleettest.New("one"), "secret")}, "secret"
	for listen, c := range map[string]struct {
		level Level
		found string
	}{
		own.Listener.Addr().String():   {OK, "takes sandboxes' traffic"},
		other.Listener.Addr().String(): {Fail, "is no orchestrator's proxy"},
		"127.0.0.1:1":                  {Fail, "does not answer"},
	} {
		cfg.NodeProxyListen = listen
		wants(t, about(askNodes(t.Context(), cfg, Proxy, "test"), "machine traffic"), c.level, c.found)
	}
	if r := about(askNodes(t.Context(), cfg, API, "test"), "machine traffic"); r.Name != "" {
		t.Errorf("an api is told of what only proxies reach: %+v", r)
	}
}
