package api

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/shoal"
)

func (w *world) state(id string) any {
	w.t.Helper()
	return w.call("GET", "/sandboxes/"+id, "").field(w.t, "state")
}

func TestPauseAndConnect(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","metadata":{"k":"v"},"network":{"allowPublicTraffic":false}}`)
	before := w.call("GET", "/sandboxes/"+id, "")
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
	if w.node.DiskOnly(id) {
		t.Error("the memory was given up without being asked to")
	}
	again := w.call("POST", "/sandboxes/"+id+"/pause", "{}")
	again.wants(t, 409, "Error pausing sandbox - sandbox '"+id+"' is already paused")
	if again.field(t, "error_code") != "sandbox.paused" {
		t.Error(again.body)
	}
	paused := w.call("GET", "/sandboxes/"+id, "")
	if paused.field(t, "state") != "paused" || paused.field(t, "envdAccessToken") != before.field(t, "envdAccessToken") {
		t.Error(paused.body)
	}
	for path, want := range map[string]string{"/v2/sandboxes?state=paused": id, "/v2/sandboxes": id, "/v2/sandboxes?state=running": "", "/sandboxes": ""} {
		if got := strings.Join(ids(t, w.call("GET", path, "")), ","); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for action, method := range map[string]string{"timeout": "POST", "refreshes": "POST", "snapshots": "POST", "network": "PUT"} {
		r := w.call(method, "/sandboxes/"+id+"/"+action, `{"timeout":60}`)
		r.wants(t, 404, "doesn't exist")
		if r.field(t, "error_code") != "sandbox.not_running" {
			t.Errorf("%s: %s", action, r.body)
		}
	}
	fork := w.call("POST", "/sandboxes/"+id+"/fork", "")
	fork.wants(t, 409, "Sandbox '"+id+"' is paused and cannot be forked; resume it first")
	if fork.field(t, "error_code") != "sandbox.paused" {
		t.Error(fork.body)
	}

	back := w.call("POST", "/v2/sandboxes/"+id+"/connect", "")
	if back.status != 201 || back.field(t, "envdAccessToken") != before.field(t, "envdAccessToken") || back.field(t, "trafficAccessToken") == nil {
		t.Errorf("%d %s", back.status, back.body)
	}
	detail := w.call("GET", "/sandboxes/"+id, "")
	if lease := span(t, detail); lease != 300*time.Second || detail.field(t, "state") != "running" {
		t.Errorf("resumed for %s: %s", lease, detail.body)
	}
	w.call("POST", "/v2/sandboxes/"+id+"/connect", `{"timeout":1}`).wants(t, 200, "")
	if got := w.call("GET", "/sandboxes/"+id, "").field(t, "endAt"); got != detail.field(t, "endAt") {
		t.Error("connect shortened the time")
	}
}

func span(t *testing.T, r reply) time.Duration {
	t.Helper()
	at := func(name string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, r.field(t, name).(string))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	return at("endAt").Sub(at("startedAt"))
}

// wantsPauseMode: SDKs cannot read null, so without a mode there is no key.
func (w *world) wantsPauseMode(id string, mode any) {
	w.t.Helper()
	r := w.call("GET", "/sandboxes/"+id, "")
	if got := r.field(w.t, "pauseMode"); got != mode || (mode == nil && strings.Contains(r.body, "pauseMode")) {
		w.t.Errorf("pauseMode %v, want %v", got, mode)
	}
}

func TestPauseWithoutMemory(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	w.wantsPauseMode(id, nil)
	w.call("POST", "/sandboxes/"+id+"/pause", `{"memory":false}`).wants(t, 204, "")
	w.wantsPauseMode(id, "filesystem")
	if !w.node.DiskOnly(id) {
		t.Error("the machine was not told")
	}
	w.call("POST", "/sandboxes/"+id+"/resume", `{"timeout":60}`).wants(t, 201, "")
	w.wantsPauseMode(id, nil)
	w.call("POST", "/sandboxes/"+id+"/pause", `{"memory":true}`).wants(t, 204, "")
	w.wantsPauseMode(id, "full")
	r := w.call("POST", "/v2/sandboxes/"+id+"/connect", `{"memory":false}`)
	if r.status != 201 || r.field(t, "coldBoot") != true {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestSilentDaemon: a strict pause is refused, a plain one is marked, and what is marked comes
// back by a boot only.
func TestSilentDaemon(t *testing.T) {
	w := newWorld(t)
	path := "/sandboxes/" + w.create(`{"templateID":"base"}`)
	w.call("POST", path+"/pause", `{"requireHealthyGuest":true}`).wants(t, 204, "")
	if r := w.call("GET", path, ""); strings.Contains(r.body, "envdUnresponsiveAtPause") {
		t.Error(r.body)
	}
	w.call("POST", path+"/connect", `{"timeout":60}`).wants(t, 201, "")
	w.node.SilenceDaemons(true)
	for _, body := range []string{`{"requireHealthyGuest":true}`, `{"memory":false}`} {
		w.call("POST", path+"/pause", body).wantsCode(t, 503, "sandbox.daemon_silent", "false", "")
		if r := w.call("GET", path, ""); r.field(t, "state") != "running" {
			t.Error(r.body)
		}
	}
	w.call("POST", path+"/pause", `{"memory":true}`).wants(t, 204, "")
	detail, list := w.call("GET", path, ""), w.call("GET", "/v2/sandboxes?state=paused", "")
	if detail.field(t, "envdUnresponsiveAtPause") != true || !strings.Contains(list.body, `"envdUnresponsiveAtPause":true`) {
		t.Errorf("%s\n%s", detail.body, list.body)
	}
	for _, call := range []string{"/sandboxes%s/connect", "/v2/sandboxes%s/connect", "/sandboxes%s/resume"} {
		at := fmt.Sprintf(call, strings.TrimPrefix(path, "/sandboxes"))
		w.call("POST", at, `{"timeout":60}`).wantsCode(t, 409, "sandbox_snapshot_guest_agent_unresponsive", "", "")
	}
	r := w.call("POST", "/v2"+path+"/connect", `{"memory":false}`)
	if r.status != 201 || r.field(t, "coldBoot") != true || w.call("GET", path, "").field(t, "envdUnresponsiveAtPause") != nil {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestSlowResume: a sandbox that does not come back in time is told of while the client still
// listens.
func TestSlowResume(t *testing.T) {
	w := newWorld(t)
	w.server.resumeWait = 50 * time.Millisecond
	path := "/sandboxes/" + w.create(`{"templateID":"base"}`)
	w.call("POST", path+"/pause", "").wants(t, 204, "")
	w.node.OnResume(func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	w.call("POST", path+"/connect", `{"timeout":60}`).wantsCode(t, 504, "sandbox.resume_timeout", "false", "")
	w.node.OnResume(nil)
	w.call("POST", path+"/connect", `{"timeout":60}`).wants(t, 201, "")
}

func TestResume(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	resume := func(body string) reply { return w.call("POST", "/sandboxes/"+id+"/resume", body) }
	resume("").wants(t, 409, "Sandbox "+id+" is already running")
	w.call("POST", "/sandboxes/unknown-client/resume", "").wants(t, 404, "doesn't exist or you don't have access to it")
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
	resume(`{"timeout":0}`).wants(t, 400, "Timeout must be greater than 0")
	resume(`{"timeout":1000000}`).wants(t, 400, "Timeout cannot be greater than 24 hours")
	resume("").wants(t, 201, "")
	if lease := span(t, w.call("GET", "/sandboxes/"+id, "")); lease != 15*time.Second {
		t.Errorf("resumed for %s", lease)
	}
}

// TestStatesWhileChanging: what each request gets from a sandbox that is on its way.
func TestStatesWhileChanging(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	sb, err := w.node.Get(t.Context(), id)
	w.must(err)
	for _, c := range []struct {
		state  shoal.State
		path   string
		status int
		text   string
	}{
		{shoal.StateKilling, "pause", 409, "cannot be paused while in 'killing' state"},
		{shoal.StateKilling, "connect", 409, "is being killed"},
		{shoal.StateKilling, "resume", 404, "doesn't exist"},
		{shoal.StateKilling, "fork", 409, "cannot be forked while in 'killing' state"},
		{shoal.StateKilling, "snapshots", 409, "cannot be snapshotted while in 'killing' state"},
		{shoal.StatePausing, "fork", 409, "cannot be forked while in 'pausing' state"},
		{shoal.StatePausing, "snapshots", 409, "cannot be snapshotted while in 'pausing' state"},
		{shoal.StateSnapshotting, "resume", 409, "Sandbox snapshot is currently being created for sandbox '" + id + "'"},
		{shoal.StateSnapshotting, "snapshots", 409, "cannot be snapshotted while in 'snapshotting' state"},
	} {
		sb.State = c.state
		w.node.Put(sb)
		r := w.call("POST", "/sandboxes/"+id+"/"+c.path, `{"timeout":60}`)
		r.wants(t, c.status, c.text)
		if retry := r.header.Get("Should-Retry") + r.header.Get("Retry-After"); (retry == "true1") != (c.status == 409) {
			t.Errorf("%s while %s: SDKs are told %q", c.path, c.state, retry) // it passes by itself
		}
	}
}

// TestForeignTeam sees nothing of a sandbox.
func TestForeignTeam(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	for _, action := range []string{"pause", "resume", "connect", "fork", "snapshots"} {
		for _, state := range []string{"running", "paused"} {
			w.call("POST", "/sandboxes/"+id+"/"+action, `{"timeout":60}`, "X-API-Key", otherKey).wants(t, 404, "doesn't exist")
			if state == "running" {
				w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
			} else {
				w.call("POST", "/sandboxes/"+id+"/connect", `{"timeout":60}`).wants(t, 201, "")
			}
		}
	}
}

// TestConcurrencyLimit: the paused do not count, and what comes back does.
func TestConcurrencyLimitOfPaused(t *testing.T) {
	w := newWorld(t)
	key := []string{"X-API-Key", smallKey}
	first := w.create(`{"templateID":"base"}`, key...)
	w.call("POST", "/sandboxes/"+first+"/pause", "", key...).wants(t, 204, "")
	w.create(`{"templateID":"base"}`, key...)
	second := w.create(`{"templateID":"base"}`, key...)
	connect := func() reply { return w.call("POST", "/v2/sandboxes/"+first+"/connect", "", key...) }
	connect().wants(t, 429, "you have reached the maximum number of concurrent E2B sandboxes (2)")
	w.call("POST", "/sandboxes/"+second+"/pause", "", key...).wants(t, 204, "")
	// Callers of one sandbox share its place.
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if r := connect(); r.status != 200 && r.status != 201 {
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	w.call("POST", "/v2/sandboxes/"+second+"/connect", "", key...).wants(t, 429, "maximum number")
}

func TestFork(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base","metadata":{"k":"v"},"autoPause":true,"autoResume":{"enabled":true},"network":{"allowPublicTraffic":false,"denyOut":["8.8.8.8"]}}`)
	path := "/sandboxes/" + id + "/fork"
	for body, want := range map[string]string{`{"count":0}`: "Count must be at least 1", `{"count":101}`: "Count cannot be greater than 100",
		`{"timeout":0}`: "Timeout must be greater than 0", `{"timeout":1000000}`: "Timeout cannot be greater than 24 hours"} {
		w.call("POST", path, body).wants(t, 400, want)
	}
	r := w.call("POST", path, `{"count":3,"timeout":77}`)
	var forks []struct{ Sandbox map[string]any }
	if r.json(t, &forks); r.status != 201 || len(forks) != 3 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	tokens := auth.NewTokens(shoal.DevTokenSeed)
	for _, f := range forks {
		copied := f.Sandbox["sandboxID"].(string)
		if copied == id || f.Sandbox["envdAccessToken"] != tokens.Envd(copied) || f.Sandbox["trafficAccessToken"] != tokens.Traffic(copied) || f.Sandbox["templateID"] != "base" {
			t.Errorf("%+v", f.Sandbox)
		}
		detail := w.call("GET", "/sandboxes/"+copied, "")
		if span(t, detail) != 77*time.Second || !strings.Contains(detail.body, `"onTimeout":"pause"`) || !strings.Contains(detail.body, `"k":"v"`) || !strings.Contains(detail.body, "8.8.8.8") {
			t.Error(detail.body)
		}
	}
	w.call("POST", path, "").wants(t, 201, "")
	if w.state(id) != "running" {
		t.Error("the original does not run")
	}
	w.call("POST", "/sandboxes/unknown/fork", "").wants(t, 404, "doesn't exist")

	// Each copy takes a place, and fails by itself.
	small := w.create(`{"templateID":"base"}`, "X-API-Key", smallKey)
	w.create(`{"templateID":"base"}`, "X-API-Key", smallKey)
	r = w.call("POST", "/sandboxes/"+small+"/fork", "", "X-API-Key", smallKey)
	if r.status != 201 || !strings.Contains(r.body, `"error":{"code":429`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	w.call("POST", "/sandboxes/"+small+"/fork", `{"count":2}`, "X-API-Key", smallKey).wants(t, 400, "Count must be lower than the maximum number of concurrent sandboxes (2)")
}

func TestSnapshots(t *testing.T) {
	w := newWorld(t)
	id, other := w.create(`{"templateID":"base"}`), w.create(`{"templateID":"base"}`)
	snapshot := func(id, body string) (string, []any) {
		t.Helper()
		r := w.call("POST", "/sandboxes/"+id+"/snapshots", body)
		if r.status != 201 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return r.field(t, "snapshotID").(string), r.field(t, "names").([]any)
	}
	plain, names := snapshot(id, "{}")
	if !strings.HasSuffix(plain, ":default") || len(names) != 0 {
		t.Errorf("unnamed: %s %v", plain, names)
	}
	named, names := snapshot(id, `{"name":"Mine"}`)
	if named != "local-dev-team/mine:default" || fmt.Sprint(names) != "[local-dev-team/mine]" {
		t.Errorf("named: %s %v", named, names)
	}
	for body, want := range map[string]bool{`{}`: false, `{"memory":true}`: false, `{"memory":false}`: true} {
		name, _ := snapshot(other, body)
		made := w.create(`{"templateID":"` + name + `"}`)
		if got := w.node.DiskOnly(w.node.Spec(made).BuildID); got != want {
			t.Errorf("%s: the disk alone: %v", body, got)
		}
		w.call("DELETE", "/sandboxes/"+made, "").wants(t, 204, "")
		w.call("DELETE", "/templates/"+strings.TrimSuffix(name, ":default"), "").wants(t, 204, "")
	}
	tagged, _ := snapshot(other, `{"name":"local-dev-team/mine:v2"}`)
	if tagged != "local-dev-team/mine:v2" {
		t.Errorf("tagged: %s", tagged)
	}
	for _, ref := range []string{plain, named, tagged, "mine", "mine:v2"} {
		r := w.call("GET", "/sandboxes/"+w.create(fmt.Sprintf(`{"templateID":%q}`, ref)), "")
		if got := r.field(t, "templateID").(string); ref == plain && got+":default" != plain {
			t.Errorf("%s: %s", ref, r.body)
		}
	}
	// The name used again leads to the new build at once; the old one is forgotten.
	before := w.node.Spec(w.create(`{"templateID":"mine"}`)).BuildID
	snapshot(id, `{"name":"mine"}`)
	if after := w.node.Spec(w.create(`{"templateID":"mine"}`)).BuildID; after == before {
		t.Error("the old snapshot is still served")
	}
	info, err := w.node.Info(t.Context())
	w.must(err)
	for _, b := range info.Builds {
		if b.ID == before {
			t.Error("the machine keeps the superseded build")
		}
	}
	for query, want := range map[string]string{"": "local-dev-team/mine:default " + plain, "sandboxID=" + id: "local-dev-team/mine:default " + plain,
		"sandboxID=" + other: "local-dev-team/mine:default", "sandboxID=unknown": "", "sandboxID=BAD!": "",
		"name=mine": "local-dev-team/mine:default", "name=mine:v2": "local-dev-team/mine:v2", "name=mine:v3": "", "name=nothing": "",
		"name=" + url.QueryEscape(plain): plain, "name=base": ""} {
		if got := snapshotIDs(t, w.call("GET", "/snapshots?"+query, "")); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	page := w.call("GET", "/snapshots?limit=1", "")
	next := page.header.Get("X-Next-Token")
	if last := w.call("GET", "/snapshots?limit=1&nextToken="+next, ""); next == "" || snapshotIDs(t, last) != plain || last.header.Get("X-Next-Token") != "" {
		t.Errorf("pages: %s %s", page.body, last.body)
	}
	if got := snapshotIDs(t, w.call("GET", "/snapshots", "", "X-API-Key", otherKey)); got != "" {
		t.Errorf("another team sees %s", got)
	}
	if r := w.call("GET", "/templates", ""); strings.Contains(r.body, "mine") {
		t.Errorf("snapshots are listed as templates: %s", r.body)
	}
	for body, want := range map[string]string{`{"name":"a b"}`: "Invalid name: ", `{"name":"other/x"}`: "namespace 'other' must match your team 'local-dev-team'",
		`{"name":"old"}`: "is the name of a template"} {
		w.call("POST", "/sandboxes/"+id+"/snapshots", body).wants(t, 400, want)
	}
	w.call("POST", "/sandboxes/unknown/snapshots", "{}").wants(t, 404, "doesn't exist")
}

func snapshotIDs(t *testing.T, r reply) string {
	t.Helper()
	var rows []struct{ SnapshotID string }
	r.json(t, &rows)
	var list []string
	for _, row := range rows {
		list = append(list, row.SnapshotID)
	}
	return strings.Join(list, " ")
}

// TestSnapshotsOfOneNewName: of two that are taken at once, neither fails, and the
// template is one.
func TestSnapshotsOfOneNewName(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	replies := make([]reply, 4)
	var group sync.WaitGroup
	for i := range replies {
		group.Go(func() { replies[i] = w.call("POST", "/sandboxes/"+id+"/snapshots", `{"name":"together"}`) })
	}
	group.Wait()
	for _, r := range replies {
		if r.status != 201 || r.field(t, "snapshotID") != "local-dev-team/together:default" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	var rows []any
	if w.call("GET", "/snapshots", "").json(t, &rows); len(rows) != 1 {
		t.Errorf("snapshots: %v", rows)
	}
}

// TestReplacedWhilePlaced: a create whose snapshot was replaced, and removed, on its way
// to the machine begins with the new one.
func TestReplacedWhilePlaced(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	w.call("POST", "/sandboxes/"+id+"/snapshots", `{"name":"moving"}`).wants(t, 201, "")
	var first string
	w.node.OnCreate(func(_ context.Context, spec shoal.Spec) error {
		if first != "" {
			return nil
		}
		first = spec.BuildID
		w.call("POST", "/sandboxes/"+id+"/snapshots", `{"name":"moving"}`).wants(t, 201, "")
		return shoal.ErrImageMissing.New("build %s is not here", spec.BuildID)
	})
	r := w.call("POST", "/v2/sandboxes", `{"templateID":"moving"}`)
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if now := w.node.Spec(r.field(t, "sandboxID").(string)).BuildID; first == "" || now == first {
		t.Errorf("build %q, then %q", first, now)
	}
}

// TestPauseThatWasQuicker: a request that came before the sandbox was paused, but got to
// the machine after, has what it wanted; one that came later is refused.
func TestPauseThatWasQuicker(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	came := time.Now()
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 409, "is already paused")
	for start, want := range map[time.Time]bool{came: true, time.Now(): false} {
		ctx := context.WithValue(t.Context(), callKey{}, &call{start: start})
		ctx = context.WithValue(ctx, callerKey{}, auth.Caller{Team: shoal.Team{ID: shoal.DevTeamID}})
		if got := w.server.pausedSince(ctx, id); got != want {
			t.Errorf("paused since %s: %v", start, got)
		}
	}
}

// TestConnectThatCameLate: a sandbox that is paused between the look at it and the
// change of its time is resumed.
func TestConnectThatCameLate(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	var once sync.Once
	w.node.OnDeadline(func(string) {
		once.Do(func() {
			_, err := w.node.Pause(context.Background(), id, shoal.PauseOptions{Memory: true})
			w.must(err)
		})
	})
	w.call("POST", "/v2/sandboxes/"+id+"/connect", "").wants(t, 201, "")
	if state := w.state(id); state != "running" {
		t.Errorf("state %v", state)
	}
}
