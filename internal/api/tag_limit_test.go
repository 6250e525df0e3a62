package api

import (
	"fmt"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// TestTagLimit: the answer names the bound.
func TestTagLimit(t *testing.T) {
	w := newWorld(t)
	ready := makeBuild("many", "cccccccc-0000-4000-8000-000000000001", created)
	w.template("many", shoal.DevTeamID, false, shoal.Alias{Namespace: "local-dev-team", Name: "many"}, ready)
	tags := make([]string, store.MaxAssignments-1) // and "default"
	for i := range tags {
		tags[i] = fmt.Sprint("t", i)
	}
	w.must(w.store.AssignTags(t.Context(), ready, created, tags...))
	r := w.call("POST", "/templates/tags", `{"target":"many","tags":["one"]}`)
	r.wants(t, 429, "the template has reached the maximum number of tag assignments (10000).")
	if r.field(t, "error_code") != "template.tag_limit" || r.header.Get("Should-Retry") != "false" {
		t.Errorf("%v %s", r.header, r.body)
	}
	w.call("POST", "/v3/templates", `{"name":"many","tags":["one"]}`).wants(t, 429, "tag assignments")
	w.call("POST", "/templates/tags", `{"target":"many","tags":["t7"]}`).wants(t, 201, "")
}
