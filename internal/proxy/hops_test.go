package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"shoal/internal/shoal"
)

// edgeTo returns an outer proxy to the proxies on machines, which are asked in this order.
func edgeTo(t *testing.T, nodes ...*httptest.Server) (*httptest.Server, *nodesInTurn) {
	t.Helper()
	resolver := &nodesInTurn{}
	for _, n := range nodes {
		resolver.nodes = append(resolver.nodes, n.Listener.Addr().String())
	}
	front := httptest.NewServer(New(resolver, quiet()))
	t.Cleanup(front.Close)
	return front, resolver
}

// nodesInTurn resolves to the first node, and to the next one when a request has strayed.
type nodesInTurn struct {
	fixed
	mu    sync.Mutex
	nodes []string
	seen  []Request
}

func (n *nodesInTurn) Resolve(_ context.Context, r Request) (Target, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, r)
	if r.Strayed != "" && r.Strayed == n.nodes[0] && len(n.nodes) > 1 {
		n.nodes = n.nodes[1:]
	}
	return Target{Node: n.nodes[0]}, nil
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestTwoHops: through an outer proxy and the one on the machine, a guest sees what it sees
// through one alone, and the machine's applies the rules.
func TestTwoHops(t *testing.T) {
	shown := []string{"X-Forwarded-Host", "X-Forwarded-For", headerSandbox, headerPort, "X-Own"}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Method, " ", r.URL.RequestURI(), " host=", r.Host)
		for _, name := range shown {
			fmt.Fprintf(w, " %s=%q", name, r.Header.Values(name))
		}
	})
	targets := map[string]Target{"plain": {}, "masked": {MaskRequestHost: "masked.example:${PORT}"}}
	for name, target := range targets {
		inner, _, port := guest(t, echo, target)
		front, _ := edgeTo(t, inner)
		named := port + "-" + testID + ".test"
		routing := http.Header{headerSandbox: {testID}, headerPort: {port}}
		for host, header := range map[string]http.Header{
			named: {"X-Own": {"1"}}, named + ":8443": {"X-Forwarded-Host": {"the.clients.own"}},
			"sandbox.test": routing, "localhost:3002": routing,
		} {
			alone := text(t, request(t, inner, "PUT", host, "/p?q=%zz", header, nil))
			both := text(t, request(t, front, "PUT", host, "/p?q=%zz", header, nil))
			if alone != both {
				t.Errorf("%s, %s: through both %s\nthrough one %s", name, host, both, alone)
			}
			if want := " host=" + host + " "; name == "plain" && !strings.Contains(both, want) {
				t.Errorf("guest saw %s, want%s", both, want)
			}
			if want := fmt.Sprintf("host=masked.example:%s X-Forwarded-Host=[%q]", port, host); name == "masked" &&
				!strings.Contains(both, want) {
				t.Errorf("guest saw %s, want %s", both, want)
			}
		}
	}
	inner, _, port := guest(t, echo, Target{TrafficAccessToken: "token"})
	front, _ := edgeTo(t, inner)
	host := port + "-" + testID + ".test"
	if resp := request(t, front, "GET", host, "/p", nil, nil); resp.StatusCode != 403 {
		t.Errorf("without the token: %d", resp.StatusCode)
	}
	resp := request(t, front, "GET", host, "/p", http.Header{trafficTokenHeader: {"token"}}, nil)
	if got := text(t, resp); !strings.HasPrefix(got, "GET /p") {
		t.Errorf("got %q", got)
	}
}

var notThere = shoal.NotFound(testID)

// unknowing is the proxy of a machine that has no sandbox of ours.
func unknowing(t *testing.T) *httptest.Server {
	t.Helper()
	front := httptest.NewServer(New(&fixed{err: fmt.Errorf("wrapped: %w", notThere)}, quiet()))
	t.Cleanup(front.Close)
	return front
}

// TestStrayedRequestIsSentAgain: a machine that does not know the sandbox any more makes the
// outer proxy look for it anew, and send the request with its body to where it is.
func TestStrayedRequestIsSentAgain(t *testing.T) {
	inner, _, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || int64(len(got)) != r.ContentLength {
			t.Errorf("the guest got %d of %d bytes: %v", len(got), r.ContentLength, err)
		}
		_, _ = w.Write(got)
	}), Target{})
	host := port + "-" + testID + ".test"
	for _, body := range []string{"", "small", strings.Repeat("x", replayed)} {
		front, resolver := edgeTo(t, unknowing(t), inner)
		resp := request(t, front, "POST", host, "/", nil, strings.NewReader(body))
		if got := text(t, resp); resp.StatusCode != 200 || got != body {
			t.Errorf("%d, %d bytes came back of %d", resp.StatusCode, len(got), len(body))
		}
		if _, leaks := resp.Header[headerRoute]; leaks || len(resolver.seen) != 2 {
			t.Errorf("headers %v, asked %d times", resp.Header, len(resolver.seen))
		}
	}
}

// TestStrayedRequestThatCannotBeSentAgain: it fails, but the next one goes to the right
// machine.
func TestStrayedRequestThatCannotBeSentAgain(t *testing.T) {
	swallow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set(headerRoute, routeUnknown)
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(swallow.Close)
	inner, _, port := guest(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Target{})
	front, _ := edgeTo(t, swallow, inner)
	host := port + "-" + testID + ".test"
	resp := request(t, front, "POST", host, "/", nil, strings.NewReader(strings.Repeat("x", 4*replayed)))
	if got := text(t, resp); resp.StatusCode != 502 || !strings.Contains(got, "connection_lost") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	if resp := request(t, front, "POST", host, "/", nil, strings.NewReader("x")); resp.StatusCode != 200 {
		t.Errorf("the next one: %d", resp.StatusCode)
	}
}

// TestEndedEverywhere: what no machine knows is answered once, and not asked for ever.
func TestEndedEverywhere(t *testing.T) {
	front, resolver := edgeTo(t, unknowing(t))
	resp := request(t, front, "GET", "80-"+testID+".test", "/", nil, nil)
	if got := text(t, resp); resp.StatusCode != 502 || !strings.Contains(got, "not found") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	if len(resolver.seen) != maxResolves {
		t.Errorf("asked %d times", len(resolver.seen))
	}
}

// TestGuestsCannotStray: a guest that says that it is not there is taken at its other words.
func TestGuestsCannotStray(t *testing.T) {
	inner, _, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerRoute, routeUnknown)
		fmt.Fprint(w, "here")
	}), Target{})
	front, resolver := edgeTo(t, inner)
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	if got := text(t, resp); got != "here" || len(resolver.seen) != 1 {
		t.Errorf("got %q, asked %d times", got, len(resolver.seen))
	}
}

// TestBodyIsReadOnce: a reader of an earlier attempt takes nothing that a later one misses.
func TestBodyIsReadOnce(t *testing.T) {
	source, client := io.Pipe()
	b := newBody(source)
	first := b.again()
	go func() { _, _ = io.Copy(io.Discard, first) }()
	if _, err := client.Write([]byte("one ")); err != nil {
		t.Fatal(err)
	}
	second := b.again()
	b.settle() // an answer began before the body's end
	go func() {
		_, _ = client.Write([]byte("two "))
		_, _ = client.Write([]byte("three"))
		client.Close()
	}()
	if got, err := io.ReadAll(second); string(got) != "one two three" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestSourceIsTold: resolvers learn where a request comes from.
func TestSourceIsTold(t *testing.T) {
	front, resolver := edgeTo(t, unknowing(t))
	request(t, front, "GET", "80-"+testID+".test", "/", nil, nil)
	if want := netip.MustParseAddr("127.0.0.1"); resolver.seen[0].Source != want {
		t.Errorf("%+v", resolver.seen[0])
	}
}
