package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	grpc "connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestHealthOfRoles asks a process with one role that is ready and one that comes and goes, by HTTP
// and by gRPC.
func TestHealthOfRoles(t *testing.T) {
	var ready atomic.Bool
	health := Health{"api": Always, "proxy": func(context.Context) error {
		if !ready.Load() {
			return errors.New("host db.internal does not answer")
		}
		return nil
	}}
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") })
	for name, open := range map[string]func(http.Handler, Health) *http.Server{
		"health": NewHealthServer, "metrics": NewMetricsServer} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(nil)
			server.Config = open(metrics, health)
			server.Start()
			t.Cleanup(server.Close)
			for _, is := range []bool{false, true} {
				ready.Store(is)
				status, text := http.StatusServiceUnavailable, "api ready\nproxy not ready\n"
				if is {
					status, text = http.StatusOK, "api ready\nproxy ready\n"
				}
				wantGet(t, server.URL+"/readyz", status, text)
				wantGet(t, server.URL+"/livez", http.StatusOK, "alive\n")
				wantGet(t, server.URL+"/metrics", http.StatusOK, "metrics")
				for service, serving := range map[string]bool{"": is, "shoal.proxy": is, "shoal.api": true} {
					if got, err := grpcHealth(t, server, service); err != nil || got != serving {
						t.Errorf("gRPC of %q: %v %v, want %v", service, got, err, serving)
					}
				}
			}
			if _, err := grpcHealth(t, server, "shoal.orchestrator"); grpc.CodeOf(err) != grpc.CodeNotFound {
				t.Errorf("gRPC of a role that is not here: %v", err)
			}
		})
	}
}

// TestHealthWithout: a role that only lacks what it can do without is ready, and says so.
func TestHealthWithout(t *testing.T) {
	health := Health{"api": func(context.Context) error { return fmt.Errorf("as it is: %w", Without("clickhouse")) }}
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewMetricsServer(http.NotFoundHandler(), health)
	server.Start()
	defer server.Close()
	wantGet(t, server.URL+"/readyz", http.StatusOK, "api ready without clickhouse\n")
	for _, service := range []string{"", "shoal.api"} {
		if serving, err := grpcHealth(t, server, service); err != nil || !serving {
			t.Errorf("gRPC of %q: %v %v", service, serving, err)
		}
	}
}

func wantGet(t *testing.T, url string, status int, text string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != status || string(body) != text {
		t.Errorf("%s: %d %q, want %d %q", url, resp.StatusCode, body, status, text)
	}
}

// grpcHealth asks by gRPC over HTTP/2 without TLS. Its messages have one field each, with the
// number that wrappers' have: a string, and an enumeration whose 1 is serving.
func grpcHealth(t *testing.T, server *httptest.Server, service string) (serving bool, err error) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	client := grpc.NewClient[wrapperspb.StringValue, wrapperspb.Int32Value](&http.Client{Transport: transport},
		server.URL+"/grpc.health.v1.Health/Check", grpc.WithGRPC())
	resp, err := client.CallUnary(t.Context(), grpc.NewRequest(wrapperspb.String(service)))
	if err != nil {
		return false, err
	}
	return resp.Msg.Value == 1, nil
}

type level struct{ text atomic.Value }

func (l *level) String() string { return l.text.Load().(string) }

func (l *level) Set(text string) error {
	if text == "loud" {
		return errors.New("no level is loud")
	}
	l.text.Store(text)
	return nil
}

// TestOperatorSocket: only its owner reaches it; it has profiles and the level; a second process
// does not take it, and one that is left of a crash is taken.
func TestOperatorSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := ListenOperator(t.Context(), dir, "api")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Dir(OperatorSocket(dir, "api"))); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	levels := &level{}
	levels.text.Store("info")
	server := NewOperatorServer(levels)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	if _, err := ListenOperator(t.Context(), dir, "api"); err == nil {
		t.Error("a second process took the socket")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", OperatorSocket(dir, "api"))
		}}}
	ask := func(method, path, body string, status int) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://shoal"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status {
			t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
		}
		return string(text)
	}
	ask("PUT", LogLevelPath, "loud", http.StatusBadRequest)
	ask("PUT", LogLevelPath, strings.Repeat("x", maxLevels+1), http.StatusBadRequest)
	ask("PUT", LogLevelPath, "info,network=debug", http.StatusOK)
	if got := ask("GET", LogLevelPath, "", http.StatusOK); got != "info,network=debug\n" {
		t.Errorf("the level is %q", got)
	}
	if got := ask("GET", "/debug/pprof/goroutine?debug=1", "", http.StatusOK); !strings.Contains(got, "goroutine profile") {
		t.Errorf("profile %.100q", got)
	}
	// As a crash leaves it: the file is there, and nobody listens.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	server.Close()
	<-ended
	again, err := ListenOperator(t.Context(), dir, "api")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
