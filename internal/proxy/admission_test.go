package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// tenants resolves every sandbox, and says whose it is.
type tenants func(id string) string

func (f tenants) Resolve(_ context.Context, r Request) (Target, error) {
	if err := r.Admit(f(r.SandboxID)); err != nil {
		return Target{}, err
	}
	return Target{ExecutionID: "execution of " + r.SandboxID, Host: netip.MustParseAddr("127.0.0.1")}, nil
}

func (tenants) ResolveSigned(context.Context, netip.Addr, string, url.Values) (string, error) {
	return "", shoal.NotFound("")
}

// eventually waits until something is so.
func eventually(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to be so")
		}
	}
}

// held serves a proxy with so many places to sandboxes whose service answers at /quick, and
// holds every other request until the test ends. Sandboxes are of the team that the first
// letter after the i of their ID names.
func held(t *testing.T, total int) (front *httptest.Server, h *Handler, port string) {
	t.Helper()
	release := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path != "/quick" {
			<-release
		}
	}))
	h = newHandler(tenants(func(id string) string { return id[1:2] }), quiet(), total)
	front = httptest.NewServer(h)
	t.Cleanup(front.Close)
	t.Cleanup(backend.Close)
	t.Cleanup(func() { close(release) })
	return front, h, strconv.Itoa(backend.Listener.Addr().(*net.TCPAddr).Port)
}

// askFor asks for a path and returns the status, and the JSON of a refusal.
func askFor(t *testing.T, front *httptest.Server, host, path string) (int, map[string]any) {
	t.Helper()
	resp := request(t, front, "GET", host, path, nil, nil)
	var body map[string]any
	if resp.StatusCode != 200 {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
	}
	if path == "/quick" {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode, body
}

func TestOpenRequestsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		total   int
		busy    int      // open requests of the sandbox "ibusy" of another team
		held    []string // sandboxes with a request that stays open
		refused string   // the sandbox whose next request is refused
		status  int
		reason  string
		limit   float64
		free    string // a sandbox that answers on; empty if none does
	}{
		{"one sandbox", 8 * MaxOpenRequests, MaxOpenRequests - 1, []string{"ibusy"}, "ibusy",
			429, "connection_limit", MaxOpenRequests, "ibother"},
		{"one team", 8, 0, []string{"ia1", "ia2", "ia3", "ia4"}, "ia5", 429, "proxy.team_requests", 4, "ib1"},
		{"a team while half is held", 16, 8, []string{"ia1", "ia2"}, "ia3", 429, "proxy.team_requests", 2, "ic1"},
		{"all", 2, 0, []string{"ia1", "ib1"}, "ic1", 503, "proxy.busy", 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			front, h, port := held(t, c.total)
			for range c.busy {
				place, refusal := h.open.enter("ibusy", 1)
				if refusal != nil || place.join("b") != nil {
					t.Fatal("refused below the bound")
				}
				defer place.leave()
			}
			for _, id := range c.held {
				if status, body := askFor(t, front, port+"-"+id+".test", "/held"); status != 200 {
					t.Fatalf("%s is within the bound: %d %v", id, status, body)
				}
			}
			status, body := askFor(t, front, port+"-"+c.refused+".test", "/quick")
			if status != c.status || body["reason"] != c.reason || body["connectionLimit"] != c.limit ||
				body["code"] != float64(c.status) || body["sandboxId"] != c.refused {
				t.Errorf("one too many: %d %v", status, body)
			}
			if c.free != "" {
				if status, body := askFor(t, front, port+"-"+c.free+".test", "/quick"); status != 200 {
					t.Errorf("another sandbox: %d %v", status, body)
				}
			}
			front.CloseClientConnections()
			eventually(t, func() bool { return h.open.sandboxes.Taken() == c.busy && h.open.teams.Taken() == c.busy })
		})
	}
}

// TestGuestConnectionsAreBounded: idle connections to guests give way to those that are
// needed, and all of them are counted down in the end.
func TestGuestConnectionsAreBounded(t *testing.T) {
	front, h, port := held(t, 2)
	for i := range 6 { // each sandbox keeps its idle connection
		if status, body := askFor(t, front, fmt.Sprintf("%s-isandbox%d.test", port, i), "/quick"); status != 200 {
			t.Fatalf("sandbox %d: %d %v", i, status, body)
		}
		if n := h.upstream.conns.Load(); n > 2 {
			t.Fatalf("%d connections to guests", n)
		}
	}
	for i := range 6 {
		h.Forget(fmt.Sprintf("execution of isandbox%d", i))
	}
	eventually(t, func() bool { return h.upstream.conns.Load() == 0 })
}

// TestLateBodyIsNotWaitedFor: a client that was answered, and never sends the rest of its
// body, does not keep its connection.
func TestLateBodyIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	front, _, _ := guest(t, http.NotFoundHandler(), Target{})
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: 80-iunknown.test\r\nContent-Length: 1000\r\n\r\nx")
	_ = conn.SetReadDeadline(time.Now().Add(bodyLinger + 20*time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 502") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestFilesWeighMore(t *testing.T) {
	r := &http.Request{URL: &url.URL{Path: "/files"}}
	if weigh(r, route{port: shoal.EnvdPort}) != fileWeight || weigh(r, route{port: 3000}) != 1 {
		t.Error("only the daemon's files weigh more")
	}
}

// TestHeadsHaveATime: a connection that sends half a head is closed.
func TestHeadsHaveATime(t *testing.T) {
	if s := NewServer(http.NotFoundHandler()); s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > headTime ||
		s.MaxHeaderBytes == 0 {
		t.Errorf("heads may take %v and %d bytes", s.ReadHeaderTimeout, s.MaxHeaderBytes)
	}
}
