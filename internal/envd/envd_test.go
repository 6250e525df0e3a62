package envd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envd/access"
	"shoal/internal/envdapi/gen/filesystem/filesystemconnect"
	"shoal/internal/envdapi/gen/process/processconnect"
)

// patience bounds every wait of a test. Nothing should take that long.
const patience = 20 * time.Second

// guest is a daemon on loopback with a home of its own. As root, its user
// "user" is another one than root; otherwise both are the tester.
type guest struct {
	t      *testing.T
	server *Server
	url    string
	home   string
	uid    int
	facts  sync.Map // what the host says out of band

	process    processconnect.ProcessClient // JSON codec, as the SDKs
	filesystem filesystemconnect.FilesystemClient
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	dir := t.TempDir()
	// The parent directory is closed to other users, such as "user".
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, home: filepath.Join(dir, "home"), uid: os.Geteuid()}
	gid := os.Getegid()
	rootHome := filepath.Join(dir, "root")
	if g.uid == 0 {
		g.uid, gid = 12345, 12345
	}
	for _, home := range []string{g.home, rootHome} {
		if err := os.Mkdir(home, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(g.home, g.uid, gid); err != nil {
		t.Fatal(err)
	}
	passwd := fmt.Sprintf("user:x:%d:%d::%s:/bin/bash\nroot:x:0:0:root:%s:/bin/bash\n", g.uid, gid, g.home,
		rootHome)
	config := DefaultConfig(slog.New(slog.DiscardHandler))
	config.ForwardPorts, config.ReapOrphans = false, false
	config.PasswdFile = g.write(dir, "passwd", passwd)
	config.GroupFile = g.write(dir, "group", fmt.Sprintf("root:x:0:\nuser:x:%d:\n", gid))
	config.HostsFile = g.write(dir, "hosts", "127.0.0.1 localhost\n")
	config.RunDir = filepath.Join(dir, "run")
	config.Policies, config.Sudoers = []string{filepath.Join(dir, "policies")}, filepath.Join(dir, "sudoers.d")
	config.CABundle, config.CAExtra = filepath.Join(dir, "certs", "bundle.crt"),
		filepath.Join(dir, "extra", "ca.crt")
	config.Authority = access.Authority{Path: filepath.Join(dir, "none"), Lookup: g.fact}
	g.server = New(config)
	g.run()
	g.server.settings.SetDefaults("user", "")
	g.process = processconnect.NewProcessClient(http.DefaultClient, g.url, connect.WithProtoJSON())
	g.filesystem = filesystemconnect.NewFilesystemClient(http.DefaultClient, g.url, connect.WithProtoJSON())
	return g
}

func (g *guest) fact(key string) string {
	value, _ := g.facts.Load(key)
	s, _ := value.(string)
	return s
}

func (g *guest) write(dir, name, text string) string {
	g.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		g.t.Fatal(err)
	}
	return path
}

func (g *guest) run() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	g.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.server.Run(ctx, listener) }()
	g.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				g.t.Errorf("the daemon ended with %v", err)
			}
		case <-time.After(patience):
			g.t.Error("the daemon does not end")
		}
		http.DefaultClient.CloseIdleConnections()
	})
}

// context ends with the test or when patience does.
func (g *guest) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	g.t.Cleanup(cancel)
	return ctx
}

// unary sends no Connect timeout, as the JS SDK.
func unary[T any](msg *T) *connect.Request[T] { return connect.NewRequest(msg) }

// as adds the user to a request.
func as[T any](user string, req *connect.Request[T]) *connect.Request[T] {
	req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":")))
	return req
}

type answered struct {
	status int
	header http.Header
	body   string
}

// do sends a plain request; headers come in pairs.
func (g *guest) do(method, path string, body io.Reader, headers ...string) answered {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.context(), method, g.url+path, body)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, string(data)}
}

func (g *guest) init(body string) answered {
	g.t.Helper()
	return g.do("POST", "/init", strings.NewReader(body))
}

func (g *guest) mustInit(body string) {
	g.t.Helper()
	if a := g.init(body); a.status != 204 {
		g.t.Fatalf("init: %d %s", a.status, a.body)
	}
}

// upload stores a raw file for the default user.
func (g *guest) upload(path, content string, headers ...string) answered {
	g.t.Helper()
	headers = append(headers, "Content-Type", "application/octet-stream")
	return g.do("POST", "/files?path="+url.QueryEscape(path), strings.NewReader(content), headers...)
}

func (g *guest) mustUpload(path, content string, headers ...string) {
	g.t.Helper()
	if a := g.upload(path, content, headers...); a.status != 200 {
		g.t.Fatalf("upload %s: %d %s", path, a.status, a.body)
	}
}

func wantCode(t *testing.T, err error, code connect.Code) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
}

// wantError checks the shape of a JSON error; an empty text allows any.
func wantError(t *testing.T, a answered, status int, text string) {
	t.Helper()
	var body struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		t.Fatalf("%d %q is no JSON error: %v", a.status, a.body, err)
	}
	if a.status != status || body.Code != status || (text != "" && body.Message != text) ||
		body.Message == "" {
		t.Fatalf("got %d %q, want %d %q", a.status, a.body, status, text)
	}
	if got := a.header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Fatalf("content type %q", got)
	}
}

// eventually polls, because what it waits for happens in the background.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestHealthAndRouting(t *testing.T) {
	g := newGuest(t)
	a := g.do("GET", "/health", nil)
	if a.status != 204 || a.body != "" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("health: %+v", a)
	}
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"HEAD", "/files", 405, "GET, POST"},
		{"PUT", "/files", 405, "GET, POST"},
		{"GET", "/init", 405, "POST"},
		{"POST", "/health", 405, "GET"},
		{"GET", "/nothing", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/files/", 404, ""},
		{"POST", "/process.Process/Nothing", 404, ""},
		{"POST", "/upgrade", 501, ""},
	} {
		a := g.do(c.method, c.path, nil)
		if a.status != c.status || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.path, a.status, a.header.Get("Allow"),
				c.status, c.allow)
		}
		if c.status == 405 && a.body != "" {
			t.Errorf("%s %s: a 405 has the body %q", c.method, c.path, a.body)
		}
	}
}

func TestMetrics(t *testing.T) {
	g := newGuest(t)
	a := g.do("GET", "/metrics", nil)
	var got map[string]float64
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	for _, key := range []string{"ts", "cpu_count", "mem_total", "mem_used", "mem_cache", "mem_total_mib",
		"mem_used_mib", "disk_total", "disk_used"} {
		if got[key] <= 0 {
			t.Errorf("%s = %v", key, got[key])
		}
	}
	if used, ok := got["cpu_used_pct"]; !ok || used < 0 || used > 100 {
		t.Errorf("cpu_used_pct = %v, present %v", used, ok)
	}
	if a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", a.header.Get("Cache-Control"))
	}
}

func TestFreezeEndpoints(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/freeze", 204, ""},
		{"/freeze?mode=hierarchy", 204, ""},
		{"/freeze?maxWaitMs=100", 200, `"mode":"legacy"`},
		{"/freeze?mode=nothing", 400, "mode"},
		{"/freeze?maxWaitMs=soon", 400, "maxWaitMs"},
		{"/freeze?maxCgroups=x", 400, "maxCgroups"},
		{"/unfreeze", 204, ""},
		{"/collapse", 200, `"alreadyHuge":0`},
	} {
		a := g.do("POST", c.path, nil)
		if a.status != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s: %d %q", c.path, a.status, a.body)
		}
	}
}

func TestCORS(t *testing.T) {
	g := newGuest(t)
	g.mustInit(`{"accessToken":"secret"}`)
	pre := g.do("OPTIONS", "/process.Process/Start", nil, "Origin", "https://a.example",
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers",
		"x-access-token, connect-protocol-version")
	for key, want := range map[string]string{
		"Access-Control-Allow-Origin":  "*",
		"Access-Control-Allow-Headers": "x-access-token, connect-protocol-version",
		"Access-Control-Max-Age":       "7200",
		"Access-Control-Allow-Methods": "HEAD, GET, POST, PUT, PATCH, DELETE",
	} {
		if got := pre.header.Get(key); got != want {
			t.Errorf("preflight %s: %q, want %q", key, got, want)
		}
	}
	if pre.status != 204 {
		t.Errorf("preflight: %d", pre.status)
	}
	if a := g.do("OPTIONS", "/metrics", nil, "Origin", "https://a.example"); a.status != 401 {
		t.Errorf("an OPTIONS that is no preflight passed the token check: %d", a.status)
	}
	a := g.do("GET", "/health", nil, "Origin", "https://a.example")
	if a.header.Get("Access-Control-Allow-Origin") != "*" ||
		!strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Grpc-Status") {
		t.Errorf("actual request: %v", a.header)
	}
}

func mustAtoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
