package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// poison is what no tenant may read: a path of the host, an address, a query.
const poison = "/srv/poison 10.9.8.7:5008 SELECT"

// bitter is a machine of which one method fails with poison.
type bitter struct {
	shoal.Node
	mu     sync.Mutex
	method string
	err    error // nil panics
}

func (b *bitter) set(method string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.method, b.err = method, err
}

func (b *bitter) fail(method string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.method != method {
		return nil
	}
	if b.err == nil {
		panic(poison)
	}
	return b.err
}

func (b *bitter) Create(ctx context.Context, s shoal.Spec) (shoal.Sandbox, error) {
	if err := b.fail("Create"); err != nil {
		return shoal.Sandbox{}, err
	}
	return b.Node.Create(ctx, s)
}

func (b *bitter) Get(ctx context.Context, id string) (shoal.Sandbox, error) {
	if err := b.fail("Get"); err != nil {
		return shoal.Sandbox{}, err
	}
	return b.Node.Get(ctx, id)
}

func (b *bitter) List(ctx context.Context) ([]shoal.Sandbox, error) {
	if err := b.fail("List"); err != nil {
		return nil, err
	}
	return b.Node.List(ctx)
}

func (b *bitter) Kill(ctx context.Context, id string, r shoal.KillReason) error {
	if err := b.fail("Kill"); err != nil {
		return err
	}
	return b.Node.Kill(ctx, id, r)
}

func (b *bitter) SetDeadline(ctx context.Context, id string, c shoal.DeadlineChange) (shoal.Sandbox, error) {
	if err := b.fail("SetDeadline"); err != nil {
		return shoal.Sandbox{}, err
	}
	return b.Node.SetDeadline(ctx, id, c)
}

func (b *bitter) SetNetwork(ctx context.Context, id string, n shoal.Network) error {
	return errors.Join(b.fail("SetNetwork"))
}

func (b *bitter) Pause(ctx context.Context, id string, o shoal.PauseOptions) (shoal.Sandbox, error) {
	if err := b.fail("Pause"); err != nil {
		return shoal.Sandbox{}, err
	}
	return b.Node.Pause(ctx, id, o)
}

func (b *bitter) Resume(ctx context.Context, id string, o shoal.ResumeOptions) (shoal.Sandbox, error) {
	if err := b.fail("Resume"); err != nil {
		return shoal.Sandbox{}, err
	}
	return b.Node.Resume(ctx, id, o)
}

func (b *bitter) Snapshot(ctx context.Context, id string, into shoal.SnapshotTarget) (shoal.Build, error) {
	if err := b.fail("Snapshot"); err != nil {
		return shoal.Build{}, err
	}
	return b.Node.Snapshot(ctx, id, into)
}

func (b *bitter) Fork(ctx context.Context, id string, specs []shoal.Spec) ([]shoal.ForkResult, error) {
	if err := b.fail("Fork"); err != nil {
		return nil, err
	}
	if err := b.fail("ForkOne"); err != nil {
		return []shoal.ForkResult{{Err: err}}, nil
	}
	return b.Node.Fork(ctx, id, specs)
}

func (b *bitter) RemoveBuild(ctx context.Context, id string) error {
	if err := b.fail("RemoveBuild"); err != nil {
		return err
	}
	return b.Node.RemoveBuild(ctx, id)
}

func (b *bitter) Metrics(ctx context.Context, id string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	if err := b.fail("Metrics"); err != nil {
		return nil, err
	}
	return b.Node.Metrics(ctx, id, q)
}

func (b *bitter) LatestMetrics(
	ctx context.Context, team string, ids []string,
) (map[string]shoal.Sample, error) {
	if err := b.fail("LatestMetrics"); err != nil {
		return nil, err
	}
	return b.Node.LatestMetrics(ctx, team, ids)
}

func (b *bitter) EgressRecords(
	ctx context.Context, id string, q shoal.EgressQuery,
) ([]shoal.EgressRecord, error) {
	if err := b.fail("EgressRecords"); err != nil {
		return nil, err
	}
	return b.Node.EgressRecords(ctx, id, q)
}

func (b *bitter) Logs(ctx context.Context, id, team string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
	if err := b.fail("Logs"); err != nil {
		return nil, err
	}
	return b.Node.Logs(ctx, id, team, q)
}

func (b *bitter) Info(ctx context.Context) (shoal.NodeInfo, error) {
	if err := b.fail("Info"); err != nil {
		return shoal.NodeInfo{}, err
	}
	return b.Node.Info(ctx)
}

// bitterWorld is a world whose machine is bitter.
func bitterWorld(t *testing.T) (*world, *bitter) {
	t.Helper()
	w := newWorld(t)
	b := &bitter{Node: w.node}
	w.serveBy(b)
	return w, b
}

// poisons are errors as any layer may return them.
func poisons() map[string]error {
	inner := errors.New(poison)
	list := map[string]error{"plain": inner, "wrapped": fmt.Errorf("open %w", inner)}
	for _, kind := range shoal.Catalogue {
		list[kind.Code] = fmt.Errorf("machine n1 at %s: %w", poison, kind.Wrap(inner, "message"))
	}
	return list
}

// sweet fails the test if an answer has poison in it, or the log has not.
func (w *world) sweet(what string, r reply, logged bool) {
	w.t.Helper()
	for _, word := range strings.Fields(poison) {
		if strings.Contains(r.body, word) {
			w.t.Errorf("%s: a tenant reads %q in %d %s", what, word, r.status, r.body)
		}
	}
	if !logged || r.status < 400 {
		return
	}
	id := r.header.Get(shoal.RequestIDHeader)
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, id) && strings.Contains(line, "poison") {
			return
		}
	}
	w.t.Errorf("%s: the log does not say why %d %s", what, r.status, r.body)
}

// TestTenantsReadNothingOfMachines fails each call to a machine with each kind of error, and
// looks for what lies under it in the answers.
func TestTenantsReadNothingOfMachines(t *testing.T) {
	w, b := bitterWorld(t)
	tenant := []string{"X-API-Key", otherKey}
	paths := map[string][]string{ // by method of the machine; ID is a sandbox
		"Create": {"POST /v2/sandboxes {\"templateID\":\"base\"}", "POST /sandboxes {\"templateID\":\"base\"}"},
		"Get": {"GET /sandboxes/ID", "DELETE /sandboxes/ID", "POST /sandboxes/ID/pause {}",
			"POST /sandboxes/ID/timeout {\"timeout\":60}", "POST /sandboxes/ID/connect {\"timeout\":60}",
			"PUT /sandboxes/ID/network {}", "POST /sandboxes/ID/snapshots {}", "POST /sandboxes/ID/fork {}",
			"POST /sandboxes/ID/refreshes {}", "GET /sandboxes/iunknown"},
		"List":          {"GET /v2/sandboxes", "GET /sandboxes"},
		"Kill":          {"DELETE /sandboxes/ID"},
		"SetDeadline":   {"POST /sandboxes/ID/timeout {\"timeout\":60}", "POST /sandboxes/ID/connect {\"timeout\":60}"},
		"SetNetwork":    {"PUT /sandboxes/ID/network {}"},
		"Pause":         {"POST /sandboxes/ID/pause {}"},
		"Snapshot":      {"POST /sandboxes/ID/snapshots {}"},
		"Fork":          {"POST /sandboxes/ID/fork {}"},
		"ForkOne":       {"POST /sandboxes/ID/fork {}"},
		"Metrics":       {"GET /sandboxes/ID/metrics"},
		"EgressRecords": {"GET /sandboxes/ID/egress"},
		"Logs":          {"GET /sandboxes/ID/logs", "GET /v2/sandboxes/ID/logs"},
		"LatestMetrics": {"GET /sandboxes/metrics?sandbox_ids=ID"},
		"Resume":        {"POST /sandboxes/PAUSED/connect {\"timeout\":60}", "POST /sandboxes/PAUSED/resume {}"},
	}
	sb, paused := w.create(`{"templateID":"base"}`, tenant...), w.create(`{"templateID":"base"}`, tenant...)
	w.call("POST", "/sandboxes/"+paused+"/pause", "{}", tenant...).wants(t, 204, "")
	reached := map[string]bool{}
	for code, err := range poisons() {
		for method, requests := range paths {
			gone := shoal.ErrSandboxNotFound.Matches(err)
			if gone && method == "Get" {
				continue // it would be remembered
			}
			b.set(method, err)
			for _, request := range requests {
				request = strings.ReplaceAll(strings.ReplaceAll(request, "ID", sb), "template"+sb, "templateID")
				verb, rest, _ := strings.Cut(strings.ReplaceAll(request, "PAUSED", paused), " ")
				path, body, _ := strings.Cut(rest, " ")
				r := w.call(verb, path, body, tenant...)
				w.sweet(method+" "+code+" "+request, r, !gone && !strings.HasSuffix(path, "unknown"))
				reached[method] = reached[method] || strings.Contains(w.log.String(), "poison")
			}
			w.log.reset()
		}
		b.set("", nil)
	}
	for method := range paths {
		if !reached[method] {
			t.Errorf("no request made %s fail", method)
		}
	}
	for _, method := range []string{"Create", "Kill", "Pause", "Snapshot", "Fork"} {
		b.set(method, nil)
		verb, rest, _ := strings.Cut(strings.ReplaceAll(paths[method][0], "ID", sb), " ")
		path, body, _ := strings.Cut(rest, " ")
		r := w.call(verb, path, strings.ReplaceAll(body, "template"+sb, "templateID"), tenant...)
		r.wants(t, 500, "")
		w.sweet("a panic in "+method, r, true)
	}
}

// TestTenantsReadNothingAtTheirLimit: a refusal after machines that did not answer does not
// name them.
func TestTenantsReadNothingAtTheirLimit(t *testing.T) {
	w, b := bitterWorld(t)
	tenant := []string{"X-API-Key", smallKey}
	sb := w.create(`{"templateID":"base"}`, tenant...)
	w.create(`{"templateID":"base"}`, tenant...)
	for _, method := range []string{"List", "Info"} {
		b.set(method, errors.New(poison))
		for _, path := range []string{"/v2/sandboxes", "/sandboxes/" + sb + "/fork"} {
			r := w.call("POST", path, `{"templateID":"base"}`, tenant...)
			w.sweet(method+" "+path, r, true)
			if path == "/v2/sandboxes" {
				r.wants(t, 429, "")
			}
		}
		b.set("", nil)
	}
}

// TestTenantsReadNothingOfTheStore calls every route without a database.
func TestTenantsReadNothingOfTheStore(t *testing.T) {
	w := newWorld(t)
	sb := w.create(`{"templateID":"base"}`, "X-API-Key", otherKey)
	team, err := w.store.Team(t.Context(), otherTeam)
	w.must(err)
	w.must(w.store.Close())
	inside := http.Client{Transport: w.server.As(team)}
	spec, err := gen.GetSpec()
	w.must(err)
	values := strings.NewReplacer("{sandboxID}", sb, "{templateID}", "otherpublic", "{buildID}", readyBuild,
		"{alias}", "shared", "{tag}", "default", "{nodeID}", "n1", "{hash}", strings.Repeat("0", 64))
	bodies := []string{"", `{}`, `{"templateID":"base"}`, `{"name":"x"}`, `{"target":"other/shared:default","tags":["a"]}`,
		`{"fromTemplate":"base"}`, `{"public":true}`, `{"timeout":60}`, `{"name":"x","tags":["a"]}`}
	failed := map[string]bool{}
	for path, item := range spec.Paths.Map() {
		for verb := range item.Operations() {
			for _, body := range bodies {
				req, err := http.NewRequestWithContext(t.Context(), verb, "http://inside"+values.Replace(path),
					strings.NewReader(body))
				w.must(err)
				req.Header.Set("Content-Type", "application/json")
				resp, err := inside.Do(req)
				w.must(err)
				rec := httptest.NewRecorder()
				_ = resp.Write(rec)
				text := strings.ToLower(rec.Body.String())
				for _, word := range []string{"sql", "database", "/tmp", ".go:"} {
					if strings.Contains(text, word) {
						t.Errorf("%s %s %s: a tenant reads %q in %s", verb, path, body, word, text)
					}
				}
				if resp.StatusCode == 500 {
					failed[verb+" "+path] = true
				}
				resp.Body.Close()
			}
		}
	}
	if len(failed) < 20 {
		t.Errorf("only %d routes asked the database: %v", len(failed), failed)
	}
}

// TestOnlyOperatorsReadCauses: what lies under an error is the operator's.
func TestOnlyOperatorsReadCauses(t *testing.T) {
	for code, err := range poisons() {
		for _, operator := range []bool{false, true} {
			r := httptest.NewRequest("GET", "/", nil)
			r = r.WithContext(context.WithValue(r.Context(), callKey{}, &call{operator: operator}))
			rec := httptest.NewRecorder()
			writeError(rec, r, err)
			if strings.Contains(rec.Body.String(), "poison") != operator {
				t.Errorf("%s, operator %v: %s", code, operator, rec.Body)
			}
		}
	}
	told := shoal.ErrTemplateNotFound.New("no").Because("it failed")
	rec := httptest.NewRecorder()
	writeError(rec, httptest.NewRequest("GET", "/", nil), told)
	if !strings.Contains(rec.Body.String(), `"cause":"it failed"`) {
		t.Errorf("a tenant does not read what it may: %s", rec.Body)
	}
}
