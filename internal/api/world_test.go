package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/audit"
	"shoal/internal/auth"
	"shoal/internal/build"
	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/templates"
)

const (
	otherTeam  = "11111111-1111-4111-8111-111111111111"
	otherKey   = "e2b_01"
	smallTeam  = "22222222-2222-4222-8222-222222222222"
	smallKey   = "e2b_02" // of a team that may have 2 sandboxes for 1 hour
	oldBuild   = "aaaaaaaa-0000-4000-8000-000000000001"
	readyBuild = "aaaaaaaa-0000-4000-8000-000000000002"
	badBuild   = "aaaaaaaa-0000-4000-8000-000000000003"
)

var created = time.Date(2026, 8, 1, 10, 0, 0, 123456000, time.UTC)

// world is a control plane over a real store and a machine in memory.
type world struct {
	t       *testing.T
	store   *store.Store
	node    *fleettest.Node
	fleet   *fleet.Fleet
	auth    *auth.Authenticator
	trail   *audit.Trail
	server  *Server
	url     string
	log     *syncBuffer
	engine  *scriptedEngine
	queue   *build.Queue
	builds  Builds
	dir     string // of the database
	data    string // directory of logs and files
	volumes Volumes
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, Origins{Allowed: []string{AnyOrigin}})
}

// newWorldWith is newWorld with a rule for web pages.
func newWorldWith(t *testing.T, origins Origins) *world {
	t.Helper()
	w := &world{t: t, log: &syncBuffer{}, engine: &scriptedEngine{}, data: t.TempDir()}
	builds := w.openStore()
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	w.node = fleettest.New("n1", builds...)
	w.join(log, w.node)
	w.auth = auth.New(w.store, auth.Config{AdminToken: shoal.DevAdminToken}, log)
	w.builds = w.runBuilds(log)
	w.serve(origins, "api", log)
	return w
}

// join makes machines the fleet.
func (w *world) join(log *slog.Logger, nodes ...shoal.Node) {
	w.t.Helper()
	w.fleet = fleet.New(fleet.Config{Nodes: nodes}, log)
	w.must(w.fleet.Sync(w.t.Context()))
}

// serveBy starts an API whose fleet is other machines.
func (w *world) serveBy(nodes ...shoal.Node) {
	w.t.Helper()
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	w.join(log, nodes...)
	w.serve(Origins{Allowed: []string{AnyOrigin}}, "api", log)
}

// serve starts an API of the given name, which takes the place of the one before.
func (w *world) serve(origins Origins, name string, log *slog.Logger) {
	w.t.Helper()
	var err error
	if w.volumes.Tokens == nil {
		w.volumes = testVolumes(w.t)
	}
	w.trail = audit.New(w.store.AddAudit, log) // tests have it written by Close
	w.server, err = New(Config{Store: w.store, Fleet: w.fleet, Auth: w.auth, Trail: w.trail, Tokens: auth.NewTokens(shoal.DevTokenSeed),
		CheckPolicy: checkPolicy, Builds: w.builds, UploadLimit: testUploadLimit, Origins: origins,
		Operator: shoal.DevTeamID, Reserved: templates.Reserved(), Volumes: w.volumes,
		Defaults: templates.About(), Name: name, IdentityURL: testIssuer, TrustDomain: "shoal.test"}, log)
	w.must(err)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewHTTPServer(w.server, log)
	srv.Start()
	w.t.Cleanup(srv.Close)
	w.url = srv.URL
}

// checkPolicy stands in for the network package: it refuses one word.
func checkPolicy(n shoal.Network) error {
	for _, entry := range n.DenyOut {
		if entry == "nonsense" {
			return shoal.ErrNetworkPolicy.New("invalid denied CIDR %s", entry)
		}
	}
	return nil
}

// filled is the database of a new world, which is copied because it takes long to make, and
// the builds that the machine has. Only the first world writes it.
var filled struct {
	sync.Once
	file   []byte
	builds []shoal.Build
}

// openStore opens a store of the world's own with teams and templates, and returns the builds
// that the machine has.
func (w *world) openStore() []shoal.Build {
	w.t.Helper()
	w.dir = w.t.TempDir()
	path := filepath.Join(w.dir, "shoal.db")
	open := func() {
		var err error
		w.store, err = store.Open(w.t.Context(), path)
		w.must(err)
		w.store.SealBy(testRing(w.t))
	}
	filled.Do(func() {
		open()
		w.must(auth.NewKeys(w.store).EnsureDev(w.t.Context()))
		filled.builds = w.fill()
		w.must(w.store.Close())
		var err error
		filled.file, err = os.ReadFile(path)
		w.must(err)
	})
	w.must(os.WriteFile(path, filled.file, 0o600))
	open()
	w.t.Cleanup(func() { w.store.Close() })
	return slices.Clone(filled.builds)
}

// fill stores teams and templates, and returns the builds that the machine has.
func (w *world) fill() []shoal.Build {
	w.team(otherTeam, "other", otherKey, shoal.DefaultTeamLimits())
	small := shoal.DefaultTeamLimits()
	small.ConcurrentSandboxes, small.MaxLength = 2, time.Hour
	w.team(smallTeam, "small", smallKey, small)

	base := makeBuild("base", readyBuild, created.Add(time.Hour))
	w.must(w.store.UpsertBase(w.t.Context(), makeBuild("base", oldBuild, created), shoal.DevTeamID))
	w.must(w.store.UpsertBase(w.t.Context(), base, shoal.DevTeamID))
	failed := makeBuild("base", badBuild, created.Add(2*time.Hour))
	failed.Status = shoal.BuildError
	w.must(w.store.AddBuild(w.t.Context(), failed, shoal.DefaultTag, "broken"))

	ancient := makeBuild("ancient", "bbbbbbbb-0000-4000-8000-000000000001", created)
	ancient.EnvdVersion = "0.1.5"
	unknown := makeBuild("unversioned", "bbbbbbbb-0000-4000-8000-000000000002", created)
	unknown.EnvdVersion = ""
	secret := makeBuild("otherprivate", "bbbbbbbb-0000-4000-8000-000000000003", created)
	shared := makeBuild("otherpublic", "bbbbbbbb-0000-4000-8000-000000000004", created)
	w.template("ancient", shoal.DevTeamID, false, shoal.Alias{Namespace: "local-dev-team", Name: "old"}, ancient, "v1.2")
	w.template("unversioned", shoal.DevTeamID, false, shoal.Alias{Namespace: "local-dev-team", Name: "nover"}, unknown)
	w.template("otherprivate", otherTeam, false, shoal.Alias{Namespace: "other", Name: "secret"}, secret)
	w.template("otherpublic", otherTeam, true, shoal.Alias{Namespace: "other", Name: "shared"}, shared)
	w.must(w.store.CreateTemplate(w.t.Context(), shoal.Template{ID: "unbuilt", TeamID: shoal.DevTeamID, CreatedAt: created.Add(-time.Hour), UpdatedAt: created}))
	return []shoal.Build{base, makeBuild("base", oldBuild, created), ancient, unknown, secret, shared}
}

func (w *world) team(id, slug, key string, limits shoal.TeamLimits) {
	hash, err := auth.HashKey(key)
	w.must(err)
	w.must(w.store.CreateTeamWithKey(w.t.Context(), shoal.Team{ID: id, Slug: slug, Name: slug, Limits: limits},
		shoal.APIKey{ID: "key-" + slug, TeamID: id, Hash: hash}))
}

// limits gives a team limits of its own.
func (w *world) limits(teamID string, named map[string]int64) {
	w.t.Helper()
	values, set, err := shoal.ParseLimits(named)
	w.must(err)
	_, err = w.store.ChangeLimits(w.t.Context(), teamID, shoal.LimitChange{Set: set, Values: values})
	w.must(err)
	w.auth.Forget()
}

func (w *world) template(id, teamID string, public bool, alias shoal.Alias, b shoal.Build, tags ...string) {
	ctx := w.t.Context()
	w.must(w.store.CreateTemplate(ctx, shoal.Template{ID: id, TeamID: teamID, Public: public, CreatedAt: b.CreatedAt, UpdatedAt: b.CreatedAt}))
	w.must(w.store.AddAlias(ctx, id, alias))
	w.must(w.store.AddBuild(ctx, b, append(tags, shoal.DefaultTag)...))
}

func makeBuild(template, id string, at time.Time) shoal.Build {
	return shoal.Build{ID: id, TemplateID: template, Status: shoal.BuildReady, EnvdVersion: "0.6.13",
		Resources:   shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: 10240},
		DefaultUser: "user", DefaultWorkdir: "/home/user", CreatedAt: at, UpdatedAt: at, FinishedAt: at}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// reply is an answer of the control plane.
type reply struct {
	status int
	header http.Header
	body   string
}

// json decodes the body into v.
func (r reply) json(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		t.Fatalf("%v in %q", err, r.body)
	}
}

// field returns one string, number or whatever of a JSON object; nil if absent.
func (r reply) field(t *testing.T, name string) any {
	t.Helper()
	var m map[string]any
	r.json(t, &m)
	return m[name]
}

// call sends a request with the development key, unless headers name another.
// A body of "" is none.
func (w *world) call(method, path, body string, headers ...string) reply {
	w.t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, rd)
	w.must(err)
	req.Header.Set("X-API-Key", shoal.DevAPIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) reply {
	w.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	w.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	w.must(err)
	return reply{resp.StatusCode, resp.Header, string(data)}
}

// create starts a sandbox by v2 and returns its ID.
func (w *world) create(body string, headers ...string) string {
	w.t.Helper()
	r := w.call("POST", "/v2/sandboxes", body, headers...)
	if r.status != 201 {
		w.t.Fatalf("create: %d %s", r.status, r.body)
	}
	return r.field(w.t, "sandboxID").(string)
}

// wants checks status and, for errors, that the body is what clients parse and
// that its message contains the text.
func (r reply) wants(t *testing.T, status int, message string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d: %s", r.status, status, r.body)
		return
	}
	if status < 400 {
		return
	}
	var e struct {
		Code      int
		Message   string
		ErrorCode string `json:"error_code"`
		Cause     string
		Fix       string
		RequestID string `json:"requestId"`
	}
	r.json(t, &e)
	if e.Code != status || e.ErrorCode == "" || e.Cause == "" || e.Fix == "" || e.RequestID != r.header.Get("X-Request-Id") {
		t.Errorf("incomplete error %s", r.body)
	}
	if !strings.Contains(e.Message, message) {
		t.Errorf("message %q, want %q", e.Message, message)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}

// syncBuffer takes log lines from several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *syncBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}
