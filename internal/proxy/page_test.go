package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

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
		{"unknown", &fixed{err: shoal.NotFound(testID)}, "80", "/", nil, 502, "The sandbox was not found",
			"Sandbox Not Found", "sandbox.not_found"},
		{"paused", &fixed{err: shoal.NotRunning(testID)}, "80", "/", nil, 502, "The sandbox was not found",
			"Sandbox Not Found", "paused"},
		{"closed port", &fixed{target: target}, "1", "/", nil, 502,
			"The sandbox is running but port is not open", "Closed Port Error", "port_closed"},
		{"impossible port", &fixed{target: target}, "70000", "/", nil, 502,
			"The sandbox is running but port is not open", "Closed Port Error", "port_closed"},
		{"resume denied", &fixed{err: shoal.ErrForbidden.New("no")}, "80", "/", nil, 403, "no",
			"Unable to Resume Sandbox", "auth.forbidden"},
		{"transition", &fixed{err: shoal.ErrSandboxState.New("sandbox is still transitioning")}, "80", "/",
			nil, 409, "sandbox is still transitioning", "Sandbox Still Transitioning", "sandbox.state"},
		{"limit", &fixed{err: shoal.ErrConcurrencyLimit.New("Sandbox limit reached")}, "80", "/", nil, 429,
			"Sandbox limit reached", "Sandbox Limit Reached", "sandbox.concurrency_limit"},
		{"internal route", &fixed{err: shoal.NotFound(testID)}, "49983", "/init", nil, 404,
			"This endpoint is reserved for the E2B control plane", "Endpoint Not Available",
			"internal_route"},
		{"internal route of Shoal's", &fixed{target: target}, "49983", "/prepare", nil, 404,
			"This endpoint is reserved for the E2B control plane", "Endpoint Not Available",
			"internal_route"},
		{"internal route, unclean", &fixed{target: target}, "49983", "//x/../fr%65eze", nil, 404,
			"This endpoint is reserved for the E2B control plane", "Endpoint Not Available",
			"internal_route"},
		{"no token", &fixed{target: private}, "1", "/", nil, 403,
			"Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing",
			"Missing Traffic Access Token", "traffic_token_missing"},
		{"wrong token", &fixed{target: private}, "1", "/", http.Header{trafficTokenHeader: {"wrong"}}, 403,
			"Sandbox is secured with traffic access token. Provided token in header 'e2b-traffic-access-token' is invalid",
			"Invalid Traffic Access Token", "traffic_token_invalid"},
		{"right token, closed port", &fixed{target: private}, "1", "/",
			http.Header{trafficTokenHeader: {"right"}}, 502, "The sandbox is running but port is not open",
			"Closed Port Error", "port_closed"},
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
			if resp.StatusCode != c.status || body["message"] != c.message ||
				body["code"] != float64(c.status) || body["reason"] != c.reason {
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
			if !strings.HasPrefix(text, "<html") || !strings.HasSuffix(text, "</html>") ||
				!strings.Contains(text, c.title) {
				t.Errorf("HTML: %s", text)
			}
		})
	}
}

// TestClosedPortPage: people read which port has no service.
func TestClosedPortPage(t *testing.T) {
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r.Header.Set("User-Agent", "Mozilla/5.0")
	closedPortPage(route{sandboxID: testID, port: 3000}).write(w, r)
	if text := w.Body.String(); !strings.Contains(text, "no service running on port 3000") {
		t.Errorf("the page says %s", text)
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

// TestNoAnswer: an open port that does not answer in HTTP must not be reported as closed.
func TestNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		says  string // to whoever connects
		https bool
		want  string
	}{
		"closes": {"", false, "if it speaks TLS, name the port in network.httpsPorts"},
		"a TLS alert": {"\x15\x03\x01\x00\x02\x02\x46", false,
			"if it speaks TLS, name the port in network.httpsPorts"},
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
			if resp.StatusCode != 502 || body["reason"] != "connection_lost" ||
				body["port"] != float64(port) ||
				!strings.Contains(message, "without an HTTP answer") || !strings.Contains(message, c.want) {
				t.Errorf("%d %v", resp.StatusCode, body)
			}
		})
	}
}

// TestPortZero: port 0 is never open, and the error names it like any other port.
func TestPortZero(t *testing.T) {
	front := httptest.NewServer(New(&fixed{target: Target{ExecutionID: "e",
		Host: netip.MustParseAddr("127.0.0.1")}}, quiet()))
	defer front.Close()
	var body map[string]any
	resp := request(t, front, "GET", "0-"+testID+".test", "/", nil, nil)
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != 502 ||
		body["port"] != 0.0 || body["reason"] != "port_closed" {
		t.Errorf("%d %v %v", resp.StatusCode, body, err)
	}
	page, _ := io.ReadAll(request(t, front, "GET", "0-"+testID+".test", "/",
		http.Header{"User-Agent": {"Mozilla/5.0"}}, nil).Body)
	if !strings.Contains(string(page), "port <code>0</code>") {
		t.Errorf("%s", page)
	}
}

// TestPagesSayNothingOfMachines: what lies under an error is in the log, not in the answer.
func TestPagesSayNothingOfMachines(t *testing.T) {
	inner := errors.New("/srv/poison 10.9.8.7:5008")
	list := []error{inner, fmt.Errorf("open %w", inner)}
	for _, kind := range shoal.Catalogue {
		list = append(list, kind.Wrap(inner, "message"))
	}
	for _, err := range list {
		var log bytes.Buffer
		h := New(&fixed{err: err}, slog.New(slog.NewTextHandler(&log, nil)))
		for _, agent := range []string{"curl", "Mozilla"} {
			r := httptest.NewRequest("GET", "http://80-"+testID+".test/", nil)
			r.Header.Set("User-Agent", agent)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if text := rec.Body.String(); strings.Contains(text, "poison") || strings.Contains(text, "5008") {
				t.Errorf("%v: %s", err, text)
			}
		}
		if shoal.AsError(err).Status >= 500 && !strings.Contains(log.String(), "poison") {
			t.Errorf("%v is not logged", err)
		}
	}
}
