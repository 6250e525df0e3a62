package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// createWith creates a sandbox under an idempotency key.
func (w *world) createWith(key, body string, headers ...string) reply {
	w.t.Helper()
	return w.call("POST", "/v2/sandboxes", body, append([]string{"Idempotency-Key", key}, headers...)...)
}

// restart ends the API and starts another one of the given name on the same store.
func (w *world) restart(name string) {
	w.t.Helper()
	w.serve(Origins{Allowed: []string{AnyOrigin}}, name, slog.New(slog.NewJSONHandler(w.log, nil)))
}

func (w *world) sandboxes() int {
	w.t.Helper()
	list, err := w.node.List(w.t.Context())
	w.must(err)
	return len(list)
}

// wantsCode checks an error's code, and what it says about a repeat.
func (r reply) wantsCode(t *testing.T, status int, code, shouldRetry, retryAfter string) {
	t.Helper()
	r.wants(t, status, "")
	if got := r.field(t, "error_code"); got != code {
		t.Errorf("error_code %v, want %s", got, code)
	}
	if got := r.header.Get("Should-Retry"); got != shouldRetry {
		t.Errorf("Should-Retry %q, want %q", got, shouldRetry)
	}
	if got := r.header.Get("Retry-After"); got != retryAfter {
		t.Errorf("Retry-After %q, want %q", got, retryAfter)
	}
}

// TestIdempotencyKey: the same key and body have the same answer, whatever becomes of the
// sandbox and of the API.
func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	const body = `{"templateID":"base","metadata":{"a":"1","b":"2"},"network":{"allowPublicTraffic":false}}`
	first := w.createWith("key-1", body)
	first.wants(t, 201, "")
	id, _ := first.field(t, "sandboxID").(string)
	again := func(why, body string) {
		t.Helper()
		r := w.createWith("key-1", body)
		if r.status != 201 || r.body != first.body || r.header.Get("Should-Retry") != "" {
			t.Errorf("%s: %d %s, want %s", why, r.status, r.body, first.body)
		}
	}
	again("repeated", body)
	again("in another order", `{"network":{"allowPublicTraffic":false},"metadata":{"b":"2","a":"1"},"templateID":"base"}`)
	w.createWith("key-1", `{"templateID":"base"}`).wantsCode(t, 422, "idempotency_request_mismatch", "", "")
	w.call("POST", "/sandboxes/"+id+"/pause", "").wants(t, 204, "")
	again("paused", body)
	w.restart("api")
	again("after a restart", body)
	w.call("DELETE", "/sandboxes/"+id, "").wants(t, 204, "")
	again("killed", body)
	if n := w.sandboxes(); n != 0 {
		t.Errorf("a killed sandbox was made again: %d", n)
	}
	// Other teams and routes have nothing to do with it.
	other := w.createWith("key-1", `{"templateID":"base"}`, "X-API-Key", otherKey)
	other.wants(t, 201, "")
	w.call("POST", "/sandboxes", `{"templateID":"base"}`, "Idempotency-Key", "key-1").wants(t, 201, "")
	brief := w.createWith("key-2", body)
	if brief.field(t, "sandboxID") == id {
		t.Error("another key has the same sandbox")
	}
	w.node.Drop(brief.field(t, "sandboxID").(string))
	if r := w.createWith("key-2", body); r.body != brief.body {
		t.Errorf("ended before the first repeat: %s, want %s", r.body, brief.body)
	}
}

func TestIdempotencyKeyForm(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"A", "a b", "a_b", "ä", " ", strings.Repeat("k", 256)} {
		// It is looked at before the body and before the template.
		w.createWith(key, `{"templateID":5}`).wants(t, 400, "Idempotency-Key")
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/v2/sandboxes", strings.NewReader(`{"templateID":"base"}`))
	req.Header = http.Header{"X-Api-Key": {shoal.DevAPIKey}, "Content-Type": {"application/json"}, "Idempotency-Key": {""}}
	w.do(req).wants(t, 400, "Idempotency-Key")
	if n := w.sandboxes(); n != 0 {
		t.Errorf("%d sandboxes", n)
	}
	w.createWith(strings.Repeat("k", 255), `{"templateID":"base"}`).wants(t, 201, "")
}

// TestIdempotencyKeyAtOnce: however many creates with a key come at once, one sandbox starts.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	w := newWorld(t)
	const callers = 20
	started := make(chan struct{}, callers)
	goOn := make(chan struct{})
	w.node.OnCreate(func(context.Context, shoal.Spec) error {
		started <- struct{}{}
		<-goOn
		return nil
	})
	replies := make([]reply, callers)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = w.createWith("at-once", `{"templateID":"base"}`) })
	}
	<-started
	close(goOn)
	wg.Wait()
	for _, r := range replies {
		if r.status != 201 || r.body != replies[0].body {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if n := w.sandboxes(); n != 1 {
		t.Errorf("%d sandboxes", n)
	}
	if n := w.server.creating.Open(); n != 0 {
		t.Errorf("%d turns are left", n)
	}
}

// TestIdempotencyKeyOfFailure: a create that made nothing does not use up its key.
func TestIdempotencyKeyOfFailure(t *testing.T) {
	w := newWorld(t)
	w.createWith("k", `{"templateID":"base","timeout":0}`).wants(t, 400, "Timeout")
	w.createWith("k", `{"templateID":"nothing"}`).wants(t, 404, "not found")
	w.node.OnCreate(func(context.Context, shoal.Spec) error { return shoal.ErrCapacity.New("full") })
	w.createWith("k", `{"templateID":"base","timeout":7}`).wants(t, 503, "Failed to place sandbox")

	// The caller goes away while the sandbox starts.
	ctx, goAway := context.WithCancel(t.Context())
	w.node.OnCreate(func(creating context.Context, _ shoal.Spec) error {
		goAway()
		<-creating.Done()
		return creating.Err()
	})
	req, _ := http.NewRequestWithContext(ctx, "POST", w.url+"/v2/sandboxes", strings.NewReader(`{"templateID":"base"}`))
	req.Header = http.Header{"X-Api-Key": {shoal.DevAPIKey}, "Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.node.OnCreate(nil)
	r := w.createWith("k", `{"templateID":"base","timeout":8}`)
	r.wants(t, 201, "")
	if w.createWith("k", `{"templateID":"base","timeout":8}`).body != r.body || w.sandboxes() != 1 {
		t.Errorf("%d sandboxes", w.sandboxes())
	}
}

// TestIdempotencyKeyOfAnotherAttempt: a create that starts over has its last sandbox.
func TestIdempotencyKeyOfAnotherAttempt(t *testing.T) {
	w := newWorld(t)
	w.node.OnCreate(func(_ context.Context, spec shoal.Spec) error {
		if spec.BuildID != readyBuild {
			return nil
		}
		next := makeBuild("base", oldBuild, created.Add(3*time.Hour)) // replaces readyBuild
		w.must(w.store.UpsertBase(t.Context(), next, shoal.DevTeamID))
		return shoal.ErrImageMissing.New("replaced")
	})
	r := w.createWith("k", `{"templateID":"base"}`)
	r.wants(t, 201, "")
	w.restart("api")
	if again := w.createWith("k", `{"templateID":"base"}`); again.body != r.body {
		t.Errorf("%s, want %s", again.body, r.body)
	}
}

// TestIdempotencyKeyOfCutOffCreate: a create that an API has begun and not ended.
func TestIdempotencyKeyOfCutOffCreate(t *testing.T) {
	w := newWorld(t)
	const body = `{"templateID":"base"}`
	digest := func() string {
		w.createWith("sample", body).wants(t, 201, "")
		c, err := w.store.Creation(t.Context(), shoal.DevTeamID, "sample", time.Time{})
		w.must(err)
		return c.Digest
	}()
	begun := func(key, server string, age time.Duration) (sandboxID string) {
		c := store.Creation{TeamID: shoal.DevTeamID, Key: key, Digest: digest, SandboxID: shoal.NewSandboxID(),
			Server: server, StartedAt: time.Now().Add(-age)}
		w.must(w.store.BeginCreation(t.Context(), c, time.Time{}, idempotencyKeys))
		return c.SandboxID
	}
	run := func(id string) {
		w.node.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: id, TeamID: shoal.DevTeamID, TemplateID: "base",
			BuildID: readyBuild, EnvdVersion: "0.6.13", EnvdAccessToken: w.server.tokens.Envd(id)},
			State: shoal.StateRunning, StartedAt: time.Now(), EndAt: time.Now().Add(time.Minute)})
	}

	w.restart("api")
	kept := begun("kept", "api", time.Second)
	run(kept)
	for range 2 { // found, then remembered
		r := w.createWith("kept", body)
		if r.status != 201 || r.field(t, "sandboxID") != kept || r.field(t, "envdAccessToken") != w.server.tokens.Envd(kept) {
			t.Errorf("%d %s", r.status, r.body)
		}
		w.node.Drop(kept)
	}

	lost := begun("lost", "api", time.Second)
	w.node.SetDown(shoal.ErrNodeUnreachable.New("10.0.0.7 does not answer"))
	r := w.createWith("lost", body)
	r.wantsCode(t, 409, "idempotency_outcome_unknown", "false", "")
	if strings.Contains(r.body, "10.0.0.7") {
		t.Errorf("a tenant reads of machines: %s", r.body)
	}
	w.node.SetDown(nil)
	w.must(w.fleet.Sync(t.Context()))
	r = w.createWith("lost", body)
	r.wants(t, 201, "")
	if r.field(t, "sandboxID") == lost || w.createWith("lost", body).body != r.body {
		t.Error(r.body)
	}

	begun("elsewhere", "other api", time.Second)
	w.createWith("elsewhere", body).wantsCode(t, 409, "idempotency_in_progress", "true", "1")
	w.createWith("elsewhere", `{"templateID":"old"}`).wantsCode(t, 422, "idempotency_request_mismatch", "", "")
	begun("abandoned", "other api", abandonedTime)
	w.createWith("abandoned", body).wants(t, 201, "")
}
