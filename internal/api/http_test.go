package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestEveryErrorIsJSON(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	big := `{"templateID":"` + strings.Repeat("x", maxBody) + `"}`
	cases := map[string]struct {
		method, path, body string
		headers            []string
		status             int
		message            string
	}{
		"unknown route":            {"GET", "/nothing", "", nil, 404, `Path "/nothing" was not found`},
		"unknown route, no key":    {"GET", "/nothing", "", []string{"X-API-Key", ""}, 404, "was not found"},
		"root":                     {"GET", "/", "", nil, 404, "was not found"},
		"trailing slash":           {"GET", "/sandboxes/", "", nil, 404, "was not found"},
		"double slash":             {"POST", "//v2//sandboxes", "{}", nil, 404, "was not found"},
		"dots":                     {"GET", "/templates/../nodes", "", nil, 404, "was not found"},
		"wrong method":             {"PATCH", "/v2/sandboxes", "{}", nil, 405, "Method PATCH is not allowed"},
		"wrong method of an alias": {"DELETE", "/templates/aliases/x", "", nil, 405, "Method DELETE"},
		"no key":                   {"GET", "/sandboxes", "", []string{"X-API-Key", ""}, 401, "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\nauthorization header is missing"},
		"no key, bad ID":           {"GET", "/sandboxes/..%2F", "", []string{"X-API-Key", ""}, 401, "Invalid API key"},
		"no key, bad query":        {"GET", "/v2/sandboxes?limit=x", "", []string{"X-API-Key", ""}, 401, "Invalid API key"},
		"unknown key":              {"GET", "/v2/sandboxes", "", []string{"X-API-Key", "e2b_ffff"}, 401, "Cannot get the team for the given API key"},
		"any string as key":        {"GET", "/v2/sandboxes", "", []string{"X-API-Key", "hello"}, 401, "authorization header is malformed"},
		"old instances":            {"POST", "/instances/x/refreshes", "", nil, 400, "Endpoints are deprecated, please update your SDK to use the new endpoints."},
		"old envs":                 {"GET", "/envs", "", nil, 400, "Endpoints are deprecated"},
		"old build":                {"POST", "/templates", "x", []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, "Endpoint deprecated please update your CLI to the latest version"},
		"not JSON":                 {"POST", "/sandboxes", "{", nil, 400, validationPrefix},
		"not an object":            {"POST", "/sandboxes", "[]", nil, 400, validationPrefix},
		"no body":                  {"POST", "/sandboxes", "", nil, 400, validationPrefix},
		"form body":                {"POST", "/sandboxes", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, validationPrefix},
		"too large":                {"POST", "/sandboxes", big, nil, 413, "larger than 16 MiB"},
		"admin without token":      {"GET", "/nodes", "", nil, 401, "Invalid Access token."},
		"admin with wrong token":   {"GET", "/nodes", "", []string{"X-Admin-Token", "x"}, 401, "Invalid Access token."},
		"upper-case ID":            {"GET", "/sandboxes/IABC", "", nil, 400, "Invalid sandbox ID"},
		"two dashes":               {"GET", "/sandboxes/a-b-c", "", nil, 400, "Invalid sandbox ID"},
		"slash in ID":              {"DELETE", "/sandboxes/" + id + "%2Fx", "", nil, 400, "Invalid sandbox ID"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := w.call(c.method, c.path, c.body, c.headers...)
			r.wants(t, c.status, c.message)
			if strings.Contains(r.field(t, "message").(string), "Schema:") {
				t.Error("the message is a dump of the schema")
			}
			if c.status == 405 && r.header.Get("Allow") == "" {
				t.Error("no Allow header")
			}
		})
	}
}

// TestUnserved: what this version does not have is refused for what it is, to those
// who may ask.
func TestUnserved(t *testing.T) {
	w := newWorld(t)
	admin := []string{"X-Admin-Token", shoal.DevAdminToken}
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
		code         string
		message      string
	}{
		{"POST", "/nodes/n1", nil, 401, "auth.unauthorized", "Invalid Access token."},
		{"POST", "/nodes/n1", admin, 501, "request.not_implemented", "status of a machine"},
		{"DELETE", "/nodes/n1", admin, 405, "request.method", "not allowed"},
		{"GET", "/volumesx", nil, 404, "request.route", "was not found"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			r := w.call(c.method, c.path, "", c.headers...)
			r.wants(t, c.status, c.message)
			if code := r.field(t, "error_code"); code != c.code {
				t.Errorf("error_code %v", code)
			}
		})
	}
}

func TestChunkedBodyTooLarge(t *testing.T) {
	w := newWorld(t)
	body := io.MultiReader(strings.NewReader(`{"templateID":"`), strings.NewReader(strings.Repeat("x", maxBody)), strings.NewReader(`"}`))
	req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/sandboxes", body)
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	req.Header.Set("Content-Type", "application/json")
	w.do(req).wants(t, 413, "larger than 1 MiB")
}

func TestChunkedBody(t *testing.T) {
	w := newWorld(t)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v2/sandboxes", io.MultiReader(strings.NewReader(`{"templateID":"base"}`)))
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	req.Header.Set("Content-Type", "application/json")
	if req.ContentLength != 0 {
		t.Fatal("the request has a length")
	}
	w.do(req).wants(t, 201, "")
}

// TestOptionalBody: old SDKs send a JSON content type with an empty body.
func TestOptionalBody(t *testing.T) {
	w := newWorld(t)
	for action, status := range map[string]int{"/connect": 200, "/refreshes": 204, "/pause": 204, "/fork": 201, "/resume": 409} {
		for _, body := range []string{"", "{}", `{"unknown":[1]}`} {
			for _, contentType := range []string{"", "application/json"} {
				if body != "" && contentType == "" {
					continue
				}
				t.Run(fmt.Sprintf("%s %q %s", action, body, contentType), func(t *testing.T) {
					path := "/sandboxes/" + w.create(`{"templateID":"base"}`) + action
					if action == "/connect" {
						path = "/v2" + path // of which v1 demands a body
					}
					w.call("POST", path, body, "Content-Type", contentType).wants(t, status, "already running")
				})
			}
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{shoal.DevAPIKey, ""} {
		if r := w.call("GET", "/health", "", "X-API-Key", key); r.status != 200 || r.body != "Health check successful" {
			t.Errorf("%d %q", r.status, r.body)
		}
	}
	w.node.SetDown(shoal.ErrNodeUnreachable.New("no route"))
	_ = w.fleet.Sync(t.Context())
	if r := w.call("GET", "/health", ""); r.status != 503 || r.body != "Service is unavailable" {
		t.Errorf("%d %q", r.status, r.body)
	}
	w.node.SetDown(nil)
	w.must(w.fleet.Sync(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.must(w.server.Run(ctx))
	if r := w.call("GET", "/health", ""); r.status != 503 {
		t.Errorf("healthy while stopping: %d", r.status)
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t)
	pre := w.call("OPTIONS", "/v2/sandboxes", "", "Origin", "https://console.example", "X-API-Key", "",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-api-key,lang")
	if pre.status != 204 || pre.header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight %d %v", pre.status, pre.header)
	}
	for _, name := range []string{"X-API-Key", "Authorization", "Content-Type", "X-Team-ID", "lang", "sdk_runtime", "processor"} {
		if !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("header %s is not allowed", name)
		}
	}
	for _, r := range []reply{w.call("GET", "/v2/sandboxes", ""), w.call("GET", "/nothing", ""), w.call("GET", "/teams", "", "X-API-Key", "")} {
		for _, name := range []string{"X-Next-Token", "X-Total-Running", "Retry-After", "X-E2B-Trace-ID"} {
			if !strings.Contains(r.header.Get("Access-Control-Expose-Headers"), name) {
				t.Errorf("status %d: header %s is not exposed", r.status, name)
			}
		}
	}
}

func TestRequestID(t *testing.T) {
	w := newWorld(t)
	for sent, kept := range map[string]bool{"": false, "abc-1.2_3": true, "no spaces": false, strings.Repeat("x", 65): false, `"quoted"`: false} {
		r := w.call("GET", "/v2/sandboxes", "", "X-Request-Id", sent)
		got := r.header.Get("X-Request-Id")
		if got == "" || (got == sent) != kept || r.header.Get("X-E2B-Trace-ID") != got {
			t.Errorf("sent %q: request ID %q, trace ID %q", sent, got, r.header.Get("X-E2B-Trace-ID"))
		}
	}
	var seen string
	w.node.OnCreate(func(ctx context.Context, _ shoal.Spec) error {
		seen = shoal.RequestID(ctx)
		return nil
	})
	w.call("POST", "/sandboxes", `{"templateID":"base"}`, "X-Request-Id", "my-id")
	if seen != "my-id" {
		t.Errorf("the machine saw request ID %q", seen)
	}
}

func TestAccessLog(t *testing.T) {
	w := newWorld(t)
	r := w.call("GET", "/sandboxes/iabc", "", "X-Request-Id", "log-me")
	r.wants(t, 404, "")
	var line map[string]any
	sc := bufio.NewScanner(strings.NewReader(w.log.String()))
	for sc.Scan() {
		var m map[string]any
		if json.Unmarshal(sc.Bytes(), &m) == nil && m["request"] == "log-me" {
			line = m
		}
	}
	want := map[string]any{"msg": "api request", "team": shoal.DevTeamID, "route": "GET /sandboxes/{sandboxID}",
		"status": 404.0, "code": "sandbox.not_found", "method": "GET", "path": "/sandboxes/iabc"}
	for k, v := range want {
		if line[k] != v {
			t.Errorf("%s is %v, want %v", k, line[k], v)
		}
	}
	if _, ok := line["ms"].(float64); !ok {
		t.Error("no duration")
	}
	if strings.Contains(w.log.String(), shoal.DevAPIKey) {
		t.Error("the key is in the log")
	}
}

func TestPanicIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.node.OnCreate(func(context.Context, shoal.Spec) error { panic("boom") })
	r := w.call("POST", "/sandboxes", `{"templateID":"base"}`)
	r.wants(t, 500, "Internal server error")
}

func TestEmptyAnswersHaveNoLengthToGuess(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	r := w.call("DELETE", "/sandboxes/"+id, "")
	if r.status != 204 || r.body != "" || r.header.Get("Transfer-Encoding") != "" {
		t.Errorf("%d %q %v", r.status, r.body, r.header)
	}
}

func TestBlockedTeam(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	team, err := w.store.Team(t.Context(), shoal.DevTeamID)
	w.must(err)
	team.Blocked, team.BlockedReason = true, "unpaid"
	w.must(w.store.SetStanding(t.Context(), team))
	w.auth.Forget()
	refused := [][2]string{{"POST", "/sandboxes"}, {"POST", "/v2/sandboxes"}, {"POST", "/v2/sandboxes/" + id + "/connect"},
		{"POST", "/sandboxes/unknown/timeout"}, {"PUT", "/sandboxes/" + id + "/network"}, {"POST", "/sandboxes/unknown/pause"}}
	for _, c := range refused {
		w.call(c[0], c[1], `{}`).wants(t, 403, "team is blocked: unpaid")
	}
	allowed := map[string]int{"GET /sandboxes": 200, "GET /v2/sandboxes": 200, "GET /sandboxes/" + id: 200, "GET /sandboxes/unknown": 404,
		"GET /sandboxes/" + id + "/metrics": 200, "GET /sandboxes/" + id + "/logs": 200, "GET /templates": 200,
		"GET /teams/" + shoal.DevTeamID + "/metrics":                               200,
		"GET /teams/" + shoal.DevTeamID + "/metrics/max?metric=sandbox_start_rate": 200,
		"GET /templates/aliases/base":                                              200}
	for what, status := range allowed {
		method, path, _ := strings.Cut(what, " ")
		w.call(method, path, "").wants(t, status, "")
	}
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 204, "")
	team.Blocked, team.Banned = false, true
	w.must(w.store.SetStanding(t.Context(), team))
	w.auth.Forget()
	w.call("GET", "/sandboxes", "").wants(t, 403, "team is banned")
}

// TestClearTextHTTP2 proves that HTTP/2 works without TLS beside HTTP/1.1, and
// that bodiless answers need no length on it.
func TestClearTextHTTP2(t *testing.T) {
	w := newWorld(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/health", nil)
	resp, err := client.Do(req)
	w.must(err)
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Errorf("%s %d", resp.Proto, resp.StatusCode)
	}
}

func TestServerTimeouts(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewHTTPServer(w.server, w.server.log)
	if s := srv.Config; s.ReadHeaderTimeout != 5*time.Second || s.ReadTimeout != 10*time.Second || s.WriteTimeout != 75*time.Second || s.IdleTimeout != 620*time.Second {
		t.Errorf("timeouts %v %v %v %v", s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout)
	}
	srv.Config.ReadHeaderTimeout = 50 * time.Millisecond
	srv.Start()
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	w.must(err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\n") // and never the rest
	w.must(conn.SetReadDeadline(time.Now().Add(10 * time.Second)))
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("a slow client was not cut off: %v", err)
	}
}

// TestMessagesAdvise: who reads the message alone learns the fix, after E2B's own words; a
// machine's own words about its failure are only in the cause.
func TestMessagesAdvise(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		r     reply
		start string
		fix   string
	}{
		"no key":     {w.call("GET", "/sandboxes", "", "X-API-Key", ""), "Invalid API key, please visit https://e2b.dev/docs/api-key for more information.\n", "shoal key create"},
		"a template": {w.call("POST", "/sandboxes", `{"templateID":"nothing"}`), "template 'nothing' not found", "GET /templates"},
		"much":       {w.call("POST", "/sandboxes", strings.Repeat(" ", maxPlainBody+1)), "The request body is larger", "files go to the sandbox"},
	} {
		message := c.r.field(t, "message").(string)
		if !strings.HasPrefix(message, c.start) || !strings.Contains(message, "\nFix: ") ||
			!strings.Contains(message, c.fix) || strings.Contains(strings.TrimPrefix(message, c.start), "e2b.dev") {
			t.Errorf("%s: %q", name, message)
		}
	}
	w.node.OnCreate(func(context.Context, shoal.Spec) error {
		return shoal.ErrCreateFailed.Wrap(errors.New("open /run/secret"), "Failed to place sandbox")
	})
	r := w.call("POST", "/sandboxes", `{"templateID":"base"}`)
	message := r.field(t, "message").(string)
	if !strings.HasPrefix(message, "Failed to place sandbox: ") ||
		strings.Contains(message, "/run/secret") || !strings.Contains(message, "\nCause: The machine tried") || !strings.Contains(message, "shoal doctor") {
		t.Errorf("%q", message)
	}
	if cause := r.field(t, "cause").(string); !strings.Contains(cause, "/run/secret") {
		t.Errorf("the operator reads the cause %q", cause)
	}
	r = w.call("POST", "/sandboxes", `{"templateID":"base"}`, "X-API-Key", otherKey)
	if strings.Contains(r.body, "/run/secret") || !strings.HasPrefix(r.field(t, "cause").(string), "The machine tried") {
		t.Errorf("a tenant reads %s", r.body)
	}
	if message := w.call("GET", "/sandboxes/iabc", "").field(t, "message").(string); strings.Contains(message, "Fix:") {
		t.Errorf("%q", message)
	}
}
