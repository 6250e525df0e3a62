package api

import (
	"testing"

	"shoal/internal/shoal"
)

// TestTemplateLimit: the answer names the bound, and what the team has can be built on.
func TestTemplateLimit(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v3/templates", `{"name":"first"}`).wants(t, 202, "")
	have := int64(0)
	var list []map[string]any
	w.call("GET", "/templates", "").json(t, &list)
	for _, template := range list {
		if template["templateID"] != "" {
			have++
		}
	}
	w.limits(shoal.DevTeamID, map[string]int64{"templates": 1})
	r := w.call("POST", "/v3/templates", `{"name":"second"}`)
	r.wants(t, 429, "you have reached the maximum number of templates (1).")
	if r.field(t, "error_code") != "template.limit" || r.header.Get("Should-Retry") != "false" {
		t.Errorf("%v %s", r.header, r.body)
	}
	w.call("POST", "/v2/templates", `{"alias":"second"}`).wants(t, 429, "maximum number of templates")
	w.call("POST", "/v3/templates", `{"name":"first"}`).wants(t, 202, "")
	w.limits(shoal.DevTeamID, map[string]int64{"templates": have + 10})
	w.call("POST", "/v3/templates", `{"name":"second"}`).wants(t, 202, "")
}
