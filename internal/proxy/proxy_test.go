package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

const testID = "iabcdefghij0123456789"

// fixed resolves one sandbox.
type fixed struct {
	target Target
	err    error
	signed string
	asked  []Request
}

func (f *fixed) Resolve(_ context.Context, r Request) (Target, error) {
	f.asked = append(f.asked, r)
	if f.err != nil {
		return Target{}, f.err
	}
	if r.SandboxID != testID {
		return Target{}, shoal.NotFound(r.SandboxID)
	}
	return f.target, nil
}

func (f *fixed) ResolveSigned(_ context.Context, _ string, q url.Values) (string, error) {
	if f.signed != "" && q.Get("signature") == f.signed {
		return testID, nil
	}
	return "", shoal.NotFound("")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// guest serves handler as the sandbox's only port and returns the proxy and port.
func guest(t *testing.T, handler http.Handler, target Target) (*httptest.Server, *Handler, string) {
	t.Helper()
	backend := httptest.NewServer(handler)
	t.Cleanup(backend.Close)
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	target.Host = netip.MustParseAddr("127.0.0.1")
	if target.ExecutionID == "" {
		target.ExecutionID = "execution"
	}
	h := New(&fixed{target: target}, quiet())
	front := httptest.NewServer(h)
	t.Cleanup(front.Close)
	return front, h, strconv.Itoa(port)
}

func request(t *testing.T, front *httptest.Server, method, host, path string, header http.Header, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, front.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestRouteGrammar(t *testing.T) {
	headers := func(id, port string) http.Header {
		h := http.Header{}
		if id != "" {
			h.Set(headerSandbox, id)
		}
		if port != "" {
			h.Set(headerPort, port)
		}
		return h
	}
	for _, c := range []struct {
		host   string
		header http.Header
		id     string
		port   uint64
		err    string
	}{
		{"3000-" + testID + ".example.com", nil, testID, 3000, ""},
		{"3000-" + testID + ".localhost:3002", nil, testID, 3000, ""},
		{"3000-" + testID + "-6532622b.example.com", nil, testID, 3000, ""},
		{"99999999-" + testID + ".x.y", nil, testID, 99999999, ""},
		{"x-" + testID + ".example.com", nil, "", 0, "Invalid sandbox port"},
		{"80-UPPER.example.com", nil, "", 0, "Invalid sandbox ID"},
		{"80-.example.com", nil, "", 0, "Invalid sandbox ID"},
		{"localhost:3002", headers(testID, "49983"), testID, 49983, ""},
		{"127.0.0.1:3002", headers(testID, "80"), testID, 80, ""},
		{"[::1]:3002", headers(testID, "80"), testID, 80, ""},
		{"sandbox.example.com", headers(testID, "80"), testID, 80, ""},
		{"any.host.at.all", headers(testID+"-6532622b", "80"), testID, 80, ""},
		{"81-" + testID + ".example.com", headers("iother", "80"), testID, 81, ""},
		{"localhost", headers(testID, ""), "", 0, "missing header E2b-Sandbox-Port"},
		{"localhost", headers("", "80"), "", 0, "missing header E2b-Sandbox-Id"},
		{"localhost", headers(testID, "-1"), "", 0, "Invalid sandbox port"},
		{"localhost", nil, "", 0, "Invalid host"},
		{"example.com", nil, "", 0, "Invalid host"},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+"/", nil)
		r.Host = c.host
		for k, v := range c.header {
			r.Header[k] = v
		}
		got, err := routeOf(r)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s %v: error %v, want %q", c.host, c.header, err, c.err)
			}
			continue
		}
		if err != nil || got.sandboxID != c.id || got.port != c.port {
			t.Errorf("%s: got %+v %v, want %s %d", c.host, got, err, c.id, c.port)
		}
	}
}

// TestErrorPages is the table of runtime.md §1.7, in JSON and HTML.
func TestErrorPages(t *testing.T) {
	target := Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}
	private := target
	private.TrafficAccessToken = "right"
	for _, c := range []struct {
		name     string
		resolver *fixed
		port     string
		path     string
		header   http.Header
		status   int
		message  string
		title    string
		reason   string
	}{
		{"unknown", &fixed{err: shoal.NotFound(testID)}, "80", "/", nil, 502, "The sandbox was not found", "Sandbox Not Found", "sandbox.not_found"},
		{"paused", &fixed{err: shoal.NotRunning(testID)}, "80", "/", nil, 502, "The sandbox was not found", "Sandbox Not Found", "paused"},
		{"closed port", &fixed{target: target}, "1", "/", nil, 502, "The sandbox is running but port is not open", "Closed Port Error", "port_closed"},
		{"impossible port", &fixed{target: target}, "70000", "/", nil, 502, "The sandbox is running but port is not open", "Closed Port Error", "port_closed"},
		{"resume denied", &fixed{err: shoal.ErrForbidden.New("no")}, "80", "/", nil, 403, "no", "Unable to Resume Sandbox", "auth.forbidden"},
		{"transition", &fixed{err: shoal.ErrSandboxState.New("sandbox is still transitioning")}, "80", "/", nil, 409, "sandbox is still transitioning", "Sandbox Still Transitioning", "sandbox.state"},
		{"limit", &fixed{err: shoal.ErrConcurrencyLimit.New("Sandbox limit reached")}, "80", "/", nil, 429, "Sandbox limit reached", "Sandbox Limit Reached", "sandbox.concurrency_limit"},
		{"internal route", &fixed{err: shoal.NotFound(testID)}, "49983", "/init", nil, 404, "This endpoint is reserved for the E2B control plane", "Endpoint Not Available", "internal_route"},
		{"internal route, unclean", &fixed{target: target}, "49983", "//x/../fr%65eze", nil, 404, "This endpoint is reserved for the E2B control plane", "Endpoint Not Available", "internal_route"},
		{"no token", &fixed{target: private}, "1", "/", nil, 403, "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing", "Missing Traffic Access Token", "traffic_token_missing"},
		{"wrong token", &fixed{target: private}, "1", "/", http.Header{trafficTokenHeader: {"wrong"}}, 403, "Sandbox is secured with traffic access token. Provided token in header 'e2b-traffic-access-token' is invalid", "Invalid Traffic Access Token", "traffic_token_invalid"},
		{"right token, closed port", &fixed{target: private}, "1", "/", http.Header{trafficTokenHeader: {"right"}}, 502, "The sandbox is running but port is not open", "Closed Port Error", "port_closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			front := httptest.NewServer(New(c.resolver, quiet()))
			defer front.Close()
			host := c.port + "-" + testID + ".test"
			resp := request(t, front, "GET", host, c.path, c.header, nil)
			var body map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || body["message"] != c.message || body["code"] != float64(c.status) || body["reason"] != c.reason {
				t.Errorf("JSON: %d %v", resp.StatusCode, body)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
				t.Errorf("content type %q", ct)
			}
			header := http.Header{"User-Agent": {"Mozilla/5.0"}, "Accept": {"text/html"}}
			for k, v := range c.header {
				header[k] = v
			}
			page, _ := io.ReadAll(request(t, front, "GET", host, c.path, header, nil).Body)
			text := string(page)
			if !strings.HasPrefix(text, "<html") || !strings.HasSuffix(text, "</html>") || !strings.Contains(text, c.title) {
				t.Errorf("HTML: %s", text)
			}
		})
	}
}

func TestNegotiation(t *testing.T) {
	for _, c := range []struct {
		agent, accept, mode, requested string
		html                           bool
	}{
		{"curl/8", "*/*", "", "", false},
		{"Mozilla/5.0", "text/html", "", "", true},
		{"Mozilla/5.0", "application/json", "", "", false},
		{"Mozilla/5.0", "application/json, text/html", "", "", true},
		{"Mozilla/5.0", "*/*", "cors", "", false},
		{"Mozilla/5.0", "text/html", "navigate", "", true},
		{"Mozilla/5.0", "text/html", "", "XMLHttpRequest", false},
		{"Mozilla/5.0", "text/html", "navigate", "XMLHttpRequest", true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("User-Agent", c.agent)
		r.Header.Set("Accept", c.accept)
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		r.Header.Set("X-Requested-With", c.requested)
		if got := wantsHTML(r); got != c.html {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestForwardsAsSent(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s xff=%q fwd=%q enc=%q body=%s", r.Method, r.URL.RequestURI(), r.Host,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("Accept-Encoding"), body)
	})
	front, _, port := guest(t, echo, Target{})
	host := port + "-" + testID + ".test"
	resp := request(t, front, "POST", host, "/a%2Fb?q=1&q=2", http.Header{"Accept-Encoding": {"identity"}}, strings.NewReader("payload"))
	body, _ := io.ReadAll(resp.Body)
	want := "POST /a%2Fb?q=1&q=2 host=" + host + ` xff="" fwd="" enc="identity" body=payload`
	if string(body) != want {
		t.Errorf("guest saw  %s\nwant       %s", body, want)
	}
}

func TestMaskedHost(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " ", r.Header.Get("X-Forwarded-Host"))
	})
	front, _, port := guest(t, echo, Target{MaskRequestHost: "masked.example:${PORT}"})
	host := port + "-" + testID + ".test"
	body, _ := io.ReadAll(request(t, front, "GET", host, "/", nil, nil).Body)
	if want := "masked.example:" + port + " " + host; string(body) != want {
		t.Errorf("got %q, want %q", body, want)
	}
}

func TestHTTPSPort(t *testing.T) {
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "secret") }))
	defer backend.Close()
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1"), HTTPSPorts: []int{port}}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	body, _ := io.ReadAll(request(t, front, "GET", fmt.Sprintf("%d-%s.test", port, testID), "/", nil, nil).Body)
	if string(body) != "secret" {
		t.Errorf("got %q", body)
	}
}

// TestNoAnswer: a port that is open but does not answer in HTTP is not called closed.
func TestNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		says  string // to whoever connects
		https bool
		want  string
	}{
		"closes":          {"", false, "if it speaks TLS, name the port in network.httpsPorts"},
		"a TLS alert":     {"\x15\x03\x01\x00\x02\x02\x46", false, "if it speaks TLS, name the port in network.httpsPorts"},
		"no TLS as named": {"220 mail\r\n", true, "so the service has to speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Read(make([]byte, 4096))
					_, _ = io.WriteString(conn, c.says)
					conn.Close()
				}
			}()
			defer func() { listener.Close(); <-done }()
			port := listener.Addr().(*net.TCPAddr).Port
			target := Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}
			if c.https {
				target.HTTPSPorts = []int{port}
			}
			front := httptest.NewServer(New(&fixed{target: target}, quiet()))
			defer front.Close()
			resp := request(t, front, "GET", fmt.Sprintf("%d-%s.test", port, testID), "/", nil, nil)
			var body map[string]any
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			message, _ := body["message"].(string)
			if resp.StatusCode != 502 || body["reason"] != "connection_lost" || body["port"] != float64(port) ||
				!strings.Contains(message, "without an HTTP answer") || !strings.Contains(message, c.want) {
				t.Errorf("%d %v", resp.StatusCode, body)
			}
		})
	}
}

// TestPortZero: no port 0 is ever open, and the answer names it like any other.
func TestPortZero(t *testing.T) {
	front := httptest.NewServer(New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}}, quiet()))
	defer front.Close()
	var body map[string]any
	resp := request(t, front, "GET", "0-"+testID+".test", "/", nil, nil)
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 502 || body["port"] != 0.0 || body["reason"] != "port_closed" {
		t.Errorf("%d %v %v", resp.StatusCode, body, err)
	}
	page, _ := io.ReadAll(request(t, front, "GET", "0-"+testID+".test", "/", http.Header{"User-Agent": {"Mozilla/5.0"}}, nil).Body)
	if !strings.Contains(string(page), "port <code>0</code>") {
		t.Errorf("%s", page)
	}
}

func TestSignedURLFindsItsSandbox(t *testing.T) {
	f := &fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}, signed: "v1_good"}
	front := httptest.NewServer(New(f, quiet()))
	defer front.Close()
	if resp := request(t, front, "GET", "localhost", "/files?path=a&signature=v1_bad", nil, nil); resp.StatusCode != 400 {
		t.Errorf("a foreign signature: %d", resp.StatusCode)
	}
	request(t, front, "GET", "localhost", "/files?path=a&signature=v1_good", nil, nil)
	if len(f.asked) == 0 || f.asked[0].SandboxID != testID || f.asked[0].Port != shoal.EnvdPort {
		t.Errorf("asked for %+v", f.asked)
	}
}

func TestStreamsAtOnce(t *testing.T) {
	next := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next: // the client has read this part
			case <-r.Context().Done():
				return
			}
		}
	})
	front, _, port := guest(t, handler, Target{})
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("part %d\n", i) {
			t.Fatalf("part %d: %q %v", i, line, err)
		}
		next <- struct{}{}
	}
}

func TestLargeBodiesNeedLittleMemory(t *testing.T) {
	const size = 100 << 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Received", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, size)
	})
	front, _, port := guest(t, handler, Target{})
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	resp := request(t, front, "PUT", port+"-"+testID+".test", "/", nil, io.LimitReader(zeros{}, size))
	n, err := io.Copy(io.Discard, resp.Body)
	runtime.ReadMemStats(&during)
	if err != nil || n != size || resp.Header.Get("X-Received") != strconv.Itoa(size) {
		t.Errorf("down %d, up %s, %v", n, resp.Header.Get("X-Received"), err)
	}
	if grown := int64(during.HeapInuse) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUpgrade(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(conn, buf)
	})
	front, _, port := guest(t, handler, Target{})
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s-%s.test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n", port, testID)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != "ping" {
		t.Errorf("%q %v", got, err)
	}
}

// TestForgetResets: an open stream ends at once, and with an error.
func TestForgetResets(t *testing.T) {
	started := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun")
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	front, h, port := guest(t, handler, Target{ExecutionID: "ends"})
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	<-started
	h.Forget("ends")
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(resp.Body)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the stream ended as if it were complete")
		}
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on")
	}
}

// TestLateListener: a port that opens within the attempts is reached.
func TestLateListener(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.Addr().(*net.TCPAddr)
	probe.Close()
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "late") })}
	defer server.Close()
	time.AfterFunc(150*time.Millisecond, func() {
		if l, err := net.Listen("tcp", addr.String()); err == nil {
			_ = server.Serve(l)
		}
	})
	body, _ := io.ReadAll(request(t, front, "GET", fmt.Sprintf("%d-%s.test", addr.Port, testID), "/", nil, nil).Body)
	if string(body) != "late" {
		t.Errorf("got %q", body)
	}
}

// TestTwoHops sends a request through an edge to the proxy on the machine.
func TestTwoHops(t *testing.T) {
	inner, _, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "inner ", r.URL.Path) }), Target{TrafficAccessToken: "token"})
	edge := New(&fixed{target: Target{Node: inner.Listener.Addr().String()}}, quiet())
	front := httptest.NewServer(edge)
	defer front.Close()
	host := port + "-" + testID + ".test"
	if resp := request(t, front, "GET", host, "/p", nil, nil); resp.StatusCode != 403 {
		t.Errorf("without the token: %d", resp.StatusCode)
	}
	resp := request(t, front, "GET", host, "/p", http.Header{trafficTokenHeader: {"token"}}, nil)
	if body, _ := io.ReadAll(resp.Body); string(body) != "inner /p" {
		t.Errorf("got %q", body)
	}
}

// TestCleartextHTTP2 is how Python's SDK speaks to a plain http address.
func TestCleartextHTTP2(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	defer backend.Close()
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}}, quiet())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(h)
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	req, _ := http.NewRequest("GET", "http://"+listener.Addr().String()+"/", nil)
	req.Host = fmt.Sprintf("%d-%s.test", port, testID)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || string(body) != "HTTP/1.1" {
		t.Errorf("front %s, guest %s", resp.Proto, body)
	}
}
