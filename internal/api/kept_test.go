package api

import (
	"testing"

	"shoal/internal/shoal"
)

// TestWhatATeamKeepsIsBounded: templates, their builds and snapshots count together; a
// snapshot in the place of another is no more than before, and what is deleted no longer counts.
func TestWhatATeamKeepsIsBounded(t *testing.T) {
	w := newWorld(t)
	limits := shoal.DefaultTeamLimits()
	limits.Builds, limits.Sandboxes = 2, 3
	const key = "e2b_04"
	w.team("44444444-4444-4444-8444-444444444444", "frugal", key, limits)
	call := func(method, path, body string) reply { return w.call(method, path, body, "X-API-Key", key) }
	sb := w.create(`{"templateID":"base"}`, "X-API-Key", key)
	snapshots := "/sandboxes/" + sb + "/snapshots"
	full := func(r reply) {
		t.Helper()
		r.wants(t, 429, "you have reached the maximum number of templates, builds and snapshots that are kept (2).")
		if r.field(t, "error_code") != "template.kept_limit" || r.header.Get("Should-Retry") != "false" {
			t.Errorf("%v", r)
		}
	}
	reg := call("POST", "/v3/templates", `{"name":"one"}`)
	reg.wants(t, 202, "")
	call("POST", snapshots, `{"name":"shot"}`).wants(t, 201, "")

	full(call("POST", snapshots, `{"name":"other"}`))
	full(call("POST", snapshots, `{"name":"shot:tag"}`))
	full(call("POST", snapshots, `{}`))
	full(call("POST", "/v3/templates", `{"name":"two"}`))
	call("POST", snapshots, `{"name":"shot"}`).wants(t, 201, "")
	call("GET", "/templates/aliases/two", "").wants(t, 404, "")

	call("DELETE", "/templates/"+reg.field(t, "templateID").(string), "").wants(t, 204, "")
	call("POST", "/v3/templates", `{"name":"two"}`).wants(t, 202, "")

	for range 2 {
		other := w.create(`{"templateID":"base"}`, "X-API-Key", key)
		call("POST", "/sandboxes/"+other+"/pause", `{}`).wants(t, 204, "")
	}
	r := call("POST", "/v2/sandboxes", `{"templateID":"base"}`)
	r.wants(t, 429, "you have reached the maximum number of sandboxes, running and paused (3).")
	if r.field(t, "error_code") != "sandbox.total_limit" {
		t.Errorf("%v", r)
	}
}
