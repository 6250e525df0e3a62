package envd

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"shoal/internal/envdapi"
	pb "shoal/internal/envdapi/gen/process"
)

func hash(token string) string {
	sum := sha512.Sum512([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (g *guest) envs() map[string]string {
	g.t.Helper()
	a := g.do("GET", "/envs", nil)
	var env map[string]string
	if err := json.Unmarshal([]byte(a.body), &env); err != nil || a.status != 200 {
		g.t.Fatalf("%d %q", a.status, a.body)
	}
	return env
}

func TestInitEnvironment(t *testing.T) {
	g := newGuest(t)
	g.facts.Store("E2B_SANDBOX_ID", "sandbox1")
	g.facts.Store("E2B_TEMPLATE_ID", "template1")
	a := g.init("")
	if a.status != 204 || a.header.Get("X-Envd-Version") != envdapi.Version ||
		a.header.Get("Cache-Control") != "no-store" || a.body != "" {
		t.Fatalf("%+v", a)
	}
	g.mustInit(`{"envVars":{"A":"1","B":"2","E2B_SANDBOX_ID":"forged"},"unknown":1}`)
	if env := g.envs(); env["A"] != "1" || env["E2B_SANDBOX_ID"] != "sandbox1" ||
		env["E2B_TEMPLATE_ID"] != "template1" || env["E2B_SANDBOX"] != "true" {
		t.Errorf("%v", env)
	}
	g.mustInit(`{}`)
	if env := g.envs(); env["A"] != "1" {
		t.Errorf("absent variables changed the set: %v", env)
	}
	g.mustInit(`{"envVars":{"B":"3"}}`)
	if env := g.envs(); env["B"] != "3" || env["A"] != "" {
		t.Errorf("variables are not replaced: %v", env)
	}
	// A restored guest has another identity.
	g.facts.Store("E2B_SANDBOX_ID", "sandbox2")
	g.mustInit(`{}`)
	if env := g.envs(); env["E2B_SANDBOX_ID"] != "sandbox2" {
		t.Errorf("%v", env)
	}
	for file, want := range map[string]string{".E2B_SANDBOX": "true", ".E2B_SANDBOX_ID": "sandbox2",
		".E2B_TEMPLATE_ID": "template1"} {
		path := filepath.Join(g.server.config.RunDir, file)
		eventually(t, file, func() bool {
			data, err := os.ReadFile(path)
			return err == nil && string(data) == want
		})
		if _, mode := g.owner(path); mode != 0o444 {
			t.Errorf("%s has mode %v", file, mode)
		}
	}
}

func TestInitRefusals(t *testing.T) {
	g := newGuest(t)
	for _, body := range []string{`{`, `[]`, `{"accessToken":""}`, `{"accessToken":"a\u0062"}`,
		`{"accessToken":1}`, `{"timestamp":"yesterday"}`} {
		a := g.init(body)
		if a.status != 400 || a.body != "" || a.header.Get("X-Envd-Version") == "" {
			t.Errorf("%s: %d %q", body, a.status, a.body)
		}
	}
	if a := g.do("GET", "/metrics", nil); a.status != 200 {
		t.Error("a refused init set a token")
	}
}

func TestInitFreshness(t *testing.T) {
	g := newGuest(t)
	now := time.Now()
	at := func(d time.Duration, value string) string {
		return fmt.Sprintf(`{"timestamp":%q,"envVars":{"V":%q}}`, now.Add(d).Format(time.RFC3339Nano), value)
	}
	for _, c := range []struct {
		body, want string
	}{
		{at(0, "first"), "first"},
		{at(-time.Nanosecond, "older"), "first"},
		{at(0, "equal"), "equal"},
		{`{"envVars":{"V":"absent"}}`, "absent"},
		{at(time.Nanosecond, "newer"), "newer"},
	} {
		g.mustInit(c.body)
		if got := g.envs()["V"]; got != c.want {
			t.Errorf("%s: %q, want %q", c.body, got, c.want)
		}
	}
}

func TestInitDefaults(t *testing.T) {
	g := newGuest(t)
	g.mustInit(`{"defaultUser":"root","defaultWorkdir":"~/sub"}`)
	g.mustInit(`{"defaultUser":"","defaultWorkdir":""}`)
	if s := g.server.settings; s.DefaultUser() != "root" || s.DefaultWorkdir() != "~/sub" {
		t.Errorf("user %q, workdir %q", s.DefaultUser(), s.DefaultWorkdir())
	}
	g.mustInit(`{"defaultUser":"nobody-here"}`)
	wantError(t, g.download("x"), 401, "")
	_, err := g.stat("x")
	wantCode(t, err, connect.CodeUnauthenticated)
	if a := g.do("GET", "/health", nil); a.status != 204 {
		t.Errorf("health depends on the default user: %d", a.status)
	}
}

func TestTokenRotation(t *testing.T) {
	body := func(token string) string {
		if token == "" {
			return `{}`
		}
		return fmt.Sprintf(`{"accessToken":%q}`, token)
	}
	for _, c := range []struct {
		name, current, hash, request string
		status                       int
	}{
		{"first token", "", "", "new", 204},
		{"no token at all", "", "", "", 204},
		{"the same", "old", "", "old", 204},
		{"another", "old", "", "new", 401},
		{"removal", "old", "", "", 401},
		{"another, authorized", "old", hash("new"), "new", 204},
		{"another, of the hash of a third", "old", hash("third"), "new", 401},
		{"removal, authorized", "old", hash(""), "", 204},
		{"removal, hash of another", "old", hash("new"), "", 401},
		{"the same, hash of another", "old", hash("new"), "old", 204},
		{"first, hash of another", "", hash("new"), "bad", 401},
		{"first, authorized, upper case", "", strings.ToUpper(hash("new")), "new", 204},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			if c.current != "" {
				g.mustInit(body(c.current))
			}
			g.facts.Store("E2B_ACCESS_TOKEN_HASH", c.hash)
			a := g.init(body(c.request))
			if a.status != c.status {
				t.Fatalf("%d %q", a.status, a.body)
			}
			want := c.request
			if c.status == 401 {
				want = c.current
			}
			if want == "" {
				if a := g.do("GET", "/metrics", nil); a.status != 200 {
					t.Errorf("without a token: %d", a.status)
				}
			} else if !g.server.token.Matches(want) {
				t.Error("the token is another")
			}
			if g.envs2(want)["E2B_ACCESS_TOKEN_HASH"] != "" {
				t.Error("the hash reaches the environment")
			}
		})
	}
}

func (g *guest) envs2(token string) map[string]string {
	g.t.Helper()
	a := g.do("GET", "/envs", nil, "X-Access-Token", token)
	var env map[string]string
	if err := json.Unmarshal([]byte(a.body), &env); err != nil {
		g.t.Fatalf("%d %q", a.status, a.body)
	}
	return env
}

// The kernel's file comes before the environment, and is read each time.
func TestAuthorityFile(t *testing.T) {
	g := newGuest(t)
	g.mustInit(`{"accessToken":"old"}`)
	g.facts.Store("E2B_ACCESS_TOKEN_HASH", hash("stale"))
	path := g.server.authority.Path
	for i, separator := range []string{"\x00", "\n"} {
		token := fmt.Sprintf("new%d", i)
		text := "PATH=/bin" + separator + "E2B_ACCESS_TOKEN_HASH=" + hash(token) + separator +
			"E2B_SANDBOX_ID=i" + token + separator
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if a := g.init(`{"accessToken":"stale"}`); a.status != 401 {
			t.Errorf("the environment counted: %d", a.status)
		}
		g.mustInit(`{"accessToken":"` + token + `"}`)
		if got := g.envs2(token)["E2B_SANDBOX_ID"]; got != "i"+token {
			t.Errorf("sandbox ID %q", got)
		}
	}
}

func TestAccessToken(t *testing.T) {
	g := newGuest(t)
	g.mustUpload("f", "content")
	g.mustInit(`{"accessToken":"secret"}`)
	for _, c := range []struct{ method, path string }{
		{"GET", "/metrics"}, {"GET", "/envs"}, {"POST", "/files/compose"}, {"POST", "/freeze"},
		{"POST", "/process.Process/List"}, {"POST", "/filesystem.Filesystem/Stat"}, {"GET", "/files/"},
		{"HEAD", "/health"}, {"GET", "//health"},
	} {
		for _, token := range []string{"", "wrong", "secre", "secret "} {
			a := g.do(c.method, c.path, nil, "X-Access-Token", token, "Content-Type", "application/json")
			if token == "secret " {
				continue // header values are trimmed
			}
			if a.status != 401 || (c.method != "HEAD" && !strings.Contains(a.body, `"code":401`)) {
				t.Errorf("%s %s with %q: %d %q", c.method, c.path, token, a.status, a.body)
			}
		}
	}
	if a := g.do("GET", "/health", nil); a.status != 204 {
		t.Errorf("health: %d", a.status)
	}
	_, err := g.process.List(g.context(), unary(&pb.ListRequest{}))
	if err == nil || err.Error() != "unauthenticated: 401 Unauthorized" {
		t.Errorf("a Go client sees %v", err)
	}
	a := g.do("POST", "/process.Process/List", strings.NewReader("{}"), "Content-Type", "application/json",
		"X-Access-Token", "secret")
	if a.status != 200 {
		t.Errorf("with the token: %d", a.status)
	}
	wantError(t, g.download("f"), 401, "")
	wantError(t, g.download("f", "X-Access-Token", "wrong"), 401, "")
	if a := g.download("f", "X-Access-Token", "secret"); a.body != "content" {
		t.Errorf("download with the token: %d", a.status)
	}
	wantError(t, g.upload("f", "x"), 401, "")
	// The node's own call still works.
	g.mustInit(`{"accessToken":"secret"}`)
}

func TestUnknownBasicUser(t *testing.T) {
	g := newGuest(t)
	const nobody = "Basic bm9ib2R5LWhlcmU6" // nobody-here:
	a := g.do("GET", "/health", nil, "Authorization", nobody)
	if a.status != 401 || !strings.Contains(a.body, `"code":"unauthenticated"`) {
		t.Errorf("plain: %d %q", a.status, a.body)
	}
	a = g.do("POST", "/process.Process/List", strings.NewReader("{}"), "Content-Type", "application/json",
		"Authorization", nobody)
	if a.status != 401 || !strings.Contains(a.body, `"unauthenticated"`) {
		t.Errorf("unary: %d %q", a.status, a.body)
	}
	a = g.do("POST", "/process.Process/Start", strings.NewReader(""), "Content-Type",
		"application/connect+json", "Authorization", nobody)
	if a.status != 200 || !strings.Contains(a.body, `"unauthenticated"`) {
		t.Errorf("stream: %d %q", a.status, a.body)
	}
	if a := g.do("GET", "/health", nil, "Authorization", "Bearer x"); a.status != 204 {
		t.Errorf("another scheme: %d", a.status)
	}
}

func TestEventsHost(t *testing.T) {
	g := newGuest(t)
	must(t, os.WriteFile(g.server.config.HostsFile,
		[]byte("127.0.0.1 localhost\n10.0.0.1 events.e2b.local other\n::1 events.e2b.local # v6"), 0o644))
	g.mustInit(`{"hyperloopIP":"not an address"}`)
	g.mustInit(`{"hyperloopIP":"192.0.2.1"}`)
	eventually(t, "the address", func() bool { return g.envs()["E2B_EVENTS_ADDRESS"] == "http://192.0.2.1" })
	data, err := os.ReadFile(g.server.config.HostsFile)
	must(t, err)
	want := "127.0.0.1 localhost\n10.0.0.1 other\n::1 events.e2b.local # v6\n192.0.2.1\tevents.e2b.local\n"
	if string(data) != want {
		t.Errorf("hosts %q, want %q", data, want)
	}
	if again := withEventsHost(want, netip.MustParseAddr("192.0.2.1")); again != want {
		t.Errorf("a second time: %q", again)
	}
}

func TestCABundle(t *testing.T) {
	g := newGuest(t)
	bundle, extra := g.server.config.CABundle, g.server.config.CAExtra
	must(t, os.MkdirAll(filepath.Dir(bundle), 0o755))
	must(t, os.WriteFile(bundle, []byte("SYSTEM\n"), 0o644))
	read := func(path string) string {
		data, _ := os.ReadFile(path)
		return string(data)
	}
	g.mustInit(`{"caBundle":"FIRST\n\n"}`)
	if read(bundle) != "SYSTEM\nFIRST\n" {
		t.Errorf("bundle %q right after init", read(bundle))
	}
	g.mustInit(`{"caBundle":"FIRST"}`)
	g.mustInit(`{"caBundle":"SECOND"}`)
	if !strings.Contains(read(bundle), "SECOND\n") {
		t.Errorf("bundle %q right after init", read(bundle))
	}
	eventually(t, "the first is removed", func() bool { return read(bundle) == "SYSTEM\nSECOND\n" })
	eventually(t, "the extra file", func() bool { return read(extra) == "SECOND\n" })
	if _, mode := g.owner(bundle); mode != 0o644 {
		t.Errorf("mode %v", mode)
	}
	must(t, os.Remove(bundle))
	must(t, os.Mkdir(bundle, 0o755))
	if a := g.init(`{"caBundle":"THIRD","envVars":{"APPLIED":"yes"}}`); a.status != 400 ||
		!strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("a bundle that cannot be written: %d %q", a.status, a.body)
	}
	if g.envs()["APPLIED"] != "yes" {
		t.Error("the variables were not applied")
	}
}

func TestVolumes(t *testing.T) {
	g := newGuest(t)
	var attached []string
	failing := errors.New("no server")
	g.server.volumes.attach = func(m envdapi.VolumeMount) error {
		attached = append(attached, m.Path)
		if m.Target == "bad:/x" {
			return failing
		}
		return nil
	}
	for _, c := range []struct {
		body   string
		status int
		count  int
	}{
		{`{"lifecycleID":"1","volumeMounts":[{"nfs_target":"10.0.0.1:/v","path":"/mnt/v"}]}`, 204, 1},
		{`{"lifecycleID":"1","volumeMounts":[{"nfs_target":"10.0.0.1:/v","path":"/mnt/v"}]}`, 204, 1},
		{`{"lifecycleID":"2","volumeMounts":[{"nfs_target":"10.0.0.1:/v","path":"/mnt/v"}]}`, 204, 2},
		{`{"lifecycleID":"2","volumeMounts":[{"nfs_target":"bad:/x","path":"/mnt/x"}]}`, 400, 3},
		{`{"lifecycleID":"2","volumeMounts":[{"nfs_target":"10.0.0.1:/v","path":"relative"}]}`, 400, 3},
	} {
		if a := g.init(c.body); a.status != c.status || len(attached) != c.count {
			t.Errorf("%s: %d %q, attached %v", c.body, a.status, a.body, attached)
		}
	}
	if err := attachVolume(envdapi.VolumeMount{Target: "10.0.0.1,evil:/v", Path: g.home}); err == nil {
		t.Error("a target with a comma could add mount options")
	}
	if err := attachVolume(envdapi.VolumeMount{Path: g.home + "/made"}); err != nil {
		t.Errorf("a volume that the platform mounted: %v", err)
	}
}

func TestInitWaitsItsTurn(t *testing.T) {
	g := newGuest(t)
	<-g.server.initTurn // as another call in progress would
	defer func() { g.server.initTurn <- struct{}{} }()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", g.url+"/init", strings.NewReader("{}"))
	must(t, err)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Errorf("it did not wait: %d", resp.StatusCode)
	}
}

func TestClock(t *testing.T) {
	now := time.Now()
	for offset, want := range map[time.Duration]bool{
		0: false, 49 * time.Millisecond: false, 51 * time.Millisecond: true, time.Hour: true,
		-4900 * time.Millisecond: false, -5100 * time.Millisecond: true,
	} {
		set := false
		c := newClock(slog.New(slog.DiscardHandler))
		c.now = func() time.Time { return now }
		c.set = func(time.Time) error { set = true; return unix.EPERM }
		c.step(now.Add(offset)) // the host is ahead by offset
		if set != want {
			t.Errorf("host ahead by %v: set %v", offset, set)
		}
	}
}

func TestDiskFreeze(t *testing.T) {
	for _, c := range []struct {
		path   string
		err    error
		status int
		synced bool
	}{
		{"/fsfreeze", nil, 204, false},
		{"/fsfreeze", unix.EBUSY, 204, false},
		{"/fsfreeze", unix.EOPNOTSUPP, 501, true},
		{"/fsfreeze", unix.ENOTTY, 501, true},
		{"/fsfreeze", unix.EIO, 500, false},
		{"/fsthaw", nil, 204, false},
		{"/fsthaw", unix.EINVAL, 204, false},
		{"/fsthaw", unix.ENOTTY, 501, false},
	} {
		g := newGuest(t)
		synced := false
		g.server.disk.ioctl = func(uint) error { return c.err }
		g.server.disk.sync = func() { synced = true }
		a := g.do("POST", c.path, nil)
		if a.status != c.status || synced != c.synced {
			t.Errorf("%s, %v: %d %q, synced %v", c.path, c.err, a.status, a.body, synced)
		}
		if a.status >= 500 {
			wantError(t, a, c.status, "")
		}
	}
}

// TestIdentityOfAGuestStartedAhead: only who knows the secret of its start can say whose it
// is.
func TestIdentityOfAGuestStartedAhead(t *testing.T) {
	g := newGuest(t)
	boot := func(secret string) {
		sum := sha256.Sum256([]byte(secret))
		g.facts.Store("SHOAL_BOOT_HASH", hex.EncodeToString(sum[:]))
	}
	boot("one")
	identity := func(secret, id, token string) string {
		const body = `{"accessToken":%q,"identity":{"secret":%q,"sandboxID":%q,"templateID":"t","accessTokenHash":%q}}`
		return fmt.Sprintf(body, token, secret, id, hash(token))
	}
	g.mustInit(identity("one", "ifirst", "first"))
	if got := g.envs2("first"); got["E2B_SANDBOX_ID"] != "ifirst" || got["E2B_TEMPLATE_ID"] != "t" {
		t.Errorf("claimed: %v", got)
	}
	for _, wrong := range []string{"", "two"} {
		if a := g.init(identity(wrong, "isecond", "second")); a.status != 401 {
			t.Errorf("with the secret %q: %d", wrong, a.status)
		}
	}
	g.mustInit(`{"accessToken":"first"}`)
	if got := g.envs2("first")["E2B_SANDBOX_ID"]; got != "ifirst" {
		t.Errorf("after wrong claims: %q", got)
	}
	boot("two") // a copy of its memory, in another guest started ahead
	if a := g.init(identity("one", "ithird", "third")); a.status != 401 {
		t.Errorf("with the secret of another start: %d", a.status)
	}
	g.mustInit(identity("two", "ithird", "third"))
	if got := g.envs2("third")["E2B_SANDBOX_ID"]; got != "ithird" {
		t.Errorf("the copy: %q", got)
	}
	// A guest whose specification names its sandbox ignores any other identity.
	g.facts.Delete("SHOAL_BOOT_HASH")
	g.facts.Store("E2B_SANDBOX_ID", "ifourth")
	g.facts.Store("E2B_ACCESS_TOKEN_HASH", hash("fourth"))
	g.mustInit(identity("two", "ififth", "fourth"))
	if got := g.envs2("fourth")["E2B_SANDBOX_ID"]; got != "ifourth" {
		t.Errorf("with a specification: %q", got)
	}
}
