package account

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"shoal/internal/api"
	"shoal/internal/audit"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/volume"
)

const password = "correct horse battery"

// world is an API with the pages, and a browser.
type world struct {
	t       *testing.T
	store   *store.Store
	trail   *audit.Trail
	url     string
	browser *http.Client
}

func newWorld(t *testing.T, issuers ...Issuer) *world {
	t.Helper()
	w := &world{t: t}
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	var err error
	w.store, err = store.Open(t.Context(), filepath.Join(dir, "shoal.db"))
	w.must(err)
	t.Cleanup(func() { w.store.Close() })
	w.must(auth.NewKeys(w.store).EnsureDev(t.Context()))
	logs, err := build.OpenLogs(filepath.Join(dir, "logs"))
	w.must(err)
	uploads, err := build.OpenFiles(filepath.Join(dir, "files"))
	w.must(err)
	queue := build.New(build.QueueConfig{Store: w.store, Engine: build.NoEngine{}, Logs: logs, Files: uploads, Builder: "test", Slots: 1}, log)
	w.trail = audit.New(w.store.AddAudit, log)
	authenticator := auth.New(w.store, auth.Config{}, log)
	tokens, err := volume.NewSigner("secret", "test")
	w.must(err)
	server, err := api.New(api.Config{Store: w.store, Fleet: fleet.New(fleet.Config{}, log), Auth: authenticator, Trail: w.trail,
		Tokens: auth.NewTokens("seed"), CheckPolicy: func(shoal.Network) error { return nil }, UploadLimit: 1,
		Builds: api.Builds{Queue: queue, Logs: logs, Files: uploads}, Origins: api.Origins{Loopback: true}, Name: "test",
		Volumes: api.Volumes{Backends: volume.Backends{{Name: "local", Path: dir}}, Tokens: tokens}}, log)
	w.must(err)
	Mount(server, Config{Auth: authenticator, Store: w.store, Passwords: true, Issuers: issuers}, log)
	srv := httptest.NewServer(server)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.browse()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// browse begins with a browser that has no cookies.
func (w *world) browse() {
	jar, err := cookiejar.New(nil)
	w.must(err)
	w.browser = &http.Client{Jar: jar}
}

// page is what a browser shows.
type page struct {
	t      *testing.T
	status int
	path   string
	header http.Header
	text   string
}

func (w *world) do(req *http.Request) page {
	w.t.Helper()
	resp, err := w.browser.Do(req)
	w.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	w.must(err)
	return page{w.t, resp.StatusCode, resp.Request.URL.Path, resp.Header, string(body)}
}

func (w *world) open(path string) page {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.url+path, nil)
	w.must(err)
	return w.do(req)
}

// send sends a form as a browser does, with further headers.
func (w *world) send(path string, form url.Values, headers ...string) page {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.url+path, strings.NewReader(form.Encode()))
	w.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", w.url)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.do(req)
}

// wants checks where a browser is, and that the page has a text.
func (p page) wants(status int, path, text string) page {
	p.t.Helper()
	if p.status != status || p.path != path || !strings.Contains(p.text, text) {
		p.t.Errorf("%d at %s, want %d at %s with %q:\n%s", p.status, p.path, status, path, text, p.text)
	}
	return p
}

// find returns what a pattern finds in the page.
func (p page) find(pattern string) string {
	p.t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(p.text)
	if found == nil {
		p.t.Fatalf("no %s in\n%s", pattern, p.text)
	}
	return found[1]
}

func (p page) csrf() string { return p.find(`name="csrf" value="([0-9a-f]+)"`) }

// first makes the first person by a link, and is signed in then.
func (w *world) first() page {
	w.t.Helper()
	link, err := auth.NewPeople(w.store).Invite(w.t.Context(), "")
	w.must(err)
	w.open("/welcome?link="+link).wants(200, "/welcome", "You are the first person here")
	return w.send("/welcome", url.Values{"link": {link}, "email": {"Ann@example.com"}, "password": {password}, "again": {password}}).
		wants(200, "/account", "ann@example.com")
}

// call uses the API by a header.
func (w *world) call(method, path string, headers ...string) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, nil)
	w.must(err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	resp.Body.Close()
	return resp.StatusCode
}

// TestFirstPerson: from the link to keys and tokens that work, and out again.
func TestFirstPerson(t *testing.T) {
	w := newWorld(t)
	w.open("/account").wants(200, "/sign-in", "Sign in")
	account := w.first().wants(200, "/account", "local-dev team")
	csrf := account.csrf()

	made := w.send("/account/keys", url.Values{"csrf": {csrf}, "team": {shoal.DevTeamID}, "name": {"laptop"}}).wants(200, "/account/keys", "laptop")
	key := made.find(`id="secret">(e2b_[0-9a-f]+)<`)
	if got := w.call("GET", "/v2/sandboxes", "X-API-Key", key); got != 200 {
		t.Errorf("the key: %d", got)
	}
	if strings.Contains(w.open("/account").text, key) {
		t.Error("the key is shown again")
	}
	end := url.Values{"csrf": {csrf}, "team": {shoal.DevTeamID}, "id": {w.open("/account").find(`name="id" value="([0-9a-f-]{36})"`)}}
	w.send("/account/keys/end", end).wants(200, "/account", "")
	if got := w.call("GET", "/v2/sandboxes", "X-API-Key", key); got != 401 {
		t.Errorf("an ended key: %d", got)
	}
	token := w.send("/account/tokens", url.Values{"csrf": {csrf}, "name": {"cli"}}).find(`id="secret">(sk_e2b_[0-9a-f]+)<`)
	if got := w.call("GET", "/templates", "Authorization", "Bearer "+token); got != 200 {
		t.Errorf("the token: %d", got)
	}
	tokens := w.open("/account").text
	id := page{t: t, text: tokens[strings.Index(tokens, "Access tokens"):]}.find(`name="id" value="([0-9a-f-]{36})"`)
	w.send("/account/tokens/end", url.Values{"csrf": {csrf}, "id": {id}}).wants(200, "/account", "")
	if got := w.call("GET", "/templates", "Authorization", "Bearer "+token); got != 401 {
		t.Errorf("an ended token: %d", got)
	}
	w.send("/account/keys", url.Values{"csrf": {csrf}, "team": {shoal.DevTeamID}, "name": {" "}}).wants(400, "/account/keys", "1 to 128 characters")
	w.send("/account/keys", url.Values{"csrf": {csrf}, "team": {"0b8a3ded-4489-4722-afd1-1d82e64ec2d6"}, "name": {"x"}}).wants(401, "/account/keys", "")

	w.send("/sign-out", url.Values{"csrf": {csrf}}).wants(200, "/sign-in", "Sign in")
	w.open("/account").wants(200, "/sign-in", "")
	w.send("/sign-in", url.Values{"email": {"ann@example.com"}, "password": {"wrong"}}).wants(401, "/sign-in", "The address or the password is not right")
	w.send("/sign-in", url.Values{"email": {"ann@example.com"}, "password": {password}}).wants(200, "/account", "ann@example.com")

	// The log tells all of it, and no secret.
	w.must(w.trail.Close(context.Background()))
	list, err := w.store.Audit(t.Context(), store.AuditQuery{Everything: true, OldestFirst: true, Limit: 100})
	w.must(err)
	var told []string
	for _, e := range list {
		if e.Status < 400 {
			told = append(told, e.Operation)
			if e.Actor.Kind != shoal.ActorUser || e.Actor.Name != "ann@example.com" {
				t.Errorf("%+v", e)
			}
		}
	}
	want := "SetPassword CreateAPIKey DeleteAPIKey CreateAccessToken DeleteAccessToken SignOut SignIn"
	if got := strings.Join(told, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestForeignForms: forms of other sites and of other sessions do nothing, nor do cookies alone.
func TestForeignForms(t *testing.T) {
	w := newWorld(t)
	csrf := w.first().csrf()
	form := url.Values{"csrf": {csrf}, "team": {shoal.DevTeamID}, "name": {"stolen"}}
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		w.send("/account/keys", form, headers...).wants(403, "/account/keys", "another site")
		w.send("/sign-in", url.Values{"email": {"x"}, "password": {"y"}}, headers...).wants(403, "/sign-in", "another site")
	}
	form.Set("csrf", strings.Repeat("0", 64))
	w.send("/account/keys", form).wants(403, "/account/keys", "not of this session")
	form.Del("csrf")
	w.send("/account/keys", form).wants(403, "/account/keys", "not of this session")
	if got := w.open("/api-keys"); got.status != 401 {
		t.Errorf("the API takes a cookie alone: %d %s", got.status, got.text)
	}
	keys, err := w.store.Keys(t.Context(), shoal.DevTeamID)
	if err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/sign-in", nil)
	w.must(err)
	req.Host = "evil.example"
	if got := w.do(req); got.status != 403 {
		t.Errorf("a name that leads here: %d", got.status)
	}
}

// TestPageHeaders: no page may be framed, load anything from elsewhere, or be kept.
func TestPageHeaders(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/sign-in", "/welcome?link=x", "/account"} {
		h := w.open(path).header
		for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if !strings.Contains(h.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
	w.open("/account/style.css").wants(200, "/account/style.css", "main {")
	w.open("/welcome?link=x").wants(403, "/welcome", "has been used or has ended")
	text := w.send("/sign-in", url.Values{"email": {`"><script>alert(1)</script>`}, "password": {"x"}}).text
	if strings.Contains(text, "<script") {
		t.Errorf("a page shows what it was sent: %s", text)
	}
	w.send("/sign-in", url.Values{"email": {strings.Repeat("x", maxForm)}}).wants(400, "/sign-in", "cannot be read")
	if got := w.call("DELETE", "/sign-in"); got != 404 && got != 405 {
		t.Errorf("%d", got)
	}
}

// TestOthersSee: a viewer sees no keys, and cannot make any.
func TestOthersSee(t *testing.T) {
	w := newWorld(t)
	people := auth.NewPeople(w.store)
	u, err := people.Create(t.Context(), "vic@example.com")
	w.must(err)
	w.must(w.store.AddMember(t.Context(), shoal.DevTeamID, u.ID, shoal.RoleViewer))
	link, err := people.Invite(t.Context(), u.ID)
	w.must(err)
	w.open("/welcome?link="+link).wants(200, "/welcome", "vic@example.com")
	form := url.Values{"link": {link}, "password": {password}, "again": {"another"}}
	w.send("/welcome", form).wants(400, "/welcome", "differ")
	form.Set("again", password)
	account := w.send("/welcome", form).wants(200, "/account", "viewer")
	if strings.Contains(account.text, "API key") {
		t.Error("a viewer is shown keys")
	}
	w.send("/account/keys", url.Values{"csrf": {account.csrf()}, "team": {shoal.DevTeamID}, "name": {"x"}}).wants(403, "/account/keys", "keys:write")
	change := url.Values{"csrf": {account.csrf()}, "present": {password}, "password": {"another password"}, "again": {"another password"}}
	w.send("/account/password", change).wants(200, "/account", "vic@example.com")
	w.browse()
	w.send("/sign-in", url.Values{"email": {"vic@example.com"}, "password": {"another password"}}).wants(200, "/account", "vic@example.com")
	w.send("/welcome", form).wants(403, "/welcome", "has been used or has ended")
}
