package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func TestDeleteTemplate(t *testing.T) {
	w := newWorld(t)
	reg := w.built(`{"name":"web","tags":["v1"]}`)
	theirs := w.built(`{"name":"theirs"}`, "X-API-Key", otherKey)
	for _, c := range []struct {
		path, key string
		status    int
		message   string
	}{
		{"nothing", shoal.DevAPIKey, 404, "template 'nothing' not found"},
		{"a%20b", shoal.DevAPIKey, 400, "Invalid template reference: "},
		{"other%2Ftheirs", shoal.DevAPIKey, 404, "template 'other/theirs' not found"},
		{theirs.TemplateID, shoal.DevAPIKey, 403, "You don't have access to template '" + theirs.TemplateID + "'"},
		{"otherpublic", shoal.DevAPIKey, 403, "You don't have access to template 'otherpublic'"},
		{"base", otherKey, 403, "You don't have access to template 'base'"},
		{"base", shoal.DevAPIKey, 403, "belongs to the installation"},
		{"web", "e2b_ffff", 401, ""},
	} {
		w.call("DELETE", "/templates/"+c.path, "", "X-API-Key", c.key).wants(t, c.status, c.message)
	}
	for state, text := range map[shoal.State]string{shoal.StateRunning: "running", shoal.StateCreating: "running", shoal.StatePaused: "paused"} {
		w.node.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: "iuser", TeamID: otherTeam, TemplateID: reg.TemplateID}, State: state})
		w.call("DELETE", "/templates/web", "").wants(t, 400,
			"cannot delete template '"+reg.TemplateID+"' because there are "+text+" sandboxes using it")
	}
	w.node.Drop("iuser")
	w.call("DELETE", "/templates/local-dev-team%2FWeb%3Av1", "").wants(t, 204, "")
	for _, path := range []string{"/templates/web", "/templates/" + reg.TemplateID} {
		w.call("DELETE", path, "").wants(t, 404, "not found")
	}
	w.call("GET", "/templates/"+reg.TemplateID, "").wants(t, 404, "Template "+reg.TemplateID+" not found")
	w.call("GET", "/templates/aliases/web", "").wants(t, 404, "")
	w.call("GET", "/templates/web/tags", "").wants(t, 404, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"`+reg.TemplateID+`"}`).wants(t, 404, "not found")
	if r := w.call("GET", "/templates", ""); strings.Contains(r.body, reg.TemplateID) {
		t.Error("a deleted template is listed")
	}
	if again := w.register(`{"name":"web"}`); again.TemplateID == reg.TemplateID {
		t.Error("the deleted template came back")
	}
	w.call("DELETE", "/templates/ancient", "").wants(t, 204, "") // by ID
}

func TestDeleteEndsBuilds(t *testing.T) {
	w := newWorld(t)
	w.waits()
	reg := w.register(`{"name":"web"}`)
	w.start(reg, `{"fromImage":"x"}`).wants(t, 202, "")
	w.eventually(func() bool { return w.engine.job().BuildID == reg.BuildID })
	w.call("DELETE", "/templates/web", "").wants(t, 204, "")
	w.call("GET", "/templates/"+reg.TemplateID+"/builds/"+reg.BuildID+"/status", "").wants(t, 400, "not found")
	if b, err := w.store.Build(t.Context(), reg.TemplateID, reg.BuildID); err != nil || b.Status != shoal.BuildError {
		t.Errorf("%+v %v", b, err)
	}
}

func TestPublish(t *testing.T) {
	w := newWorld(t)
	reg := w.built(`{"name":"web"}`)
	public := func() bool {
		r := w.call("GET", "/templates/"+reg.TemplateID, "")
		r.wants(t, 200, "")
		return r.field(t, "public").(bool)
	}
	for _, c := range []struct {
		path, body string
		want       bool
	}{
		{"web", `{"public":true}`, true}, {"web", ``, true}, {"local-dev-team%2Fweb", `{}`, true},
		{reg.TemplateID, `{"public":false}`, false}, {reg.TemplateID, `{"public":false}`, false},
	} {
		r := w.call("PATCH", "/v2/templates/"+c.path, c.body)
		if r.wants(t, 200, ""); strings.TrimSpace(r.body) != `{"names":["local-dev-team/web"]}` {
			t.Errorf("%s", r.body)
		}
		if got := public(); got != c.want {
			t.Errorf("%s %s: %v", c.path, c.body, got)
		}
	}
	w.must(w.store.CreateTemplate(t.Context(), shoal.Template{ID: "asnapshot", TeamID: shoal.DevTeamID, Source: shoal.SourceSnapshot}))
	for _, version := range []string{"", "/v2"} {
		for _, c := range []struct {
			path, body string
			status     int
		}{
			{"nothing", `{"public":true}`, 404}, {"other%2Fshared", `{"public":true}`, 404}, {"otherpublic", `{"public":true}`, 403},
			{"asnapshot", `{"public":true}`, 404}, {"a%20b", `{}`, 400}, {"web", `{"public":"yes"}`, 400}, {"web", `{`, 400},
		} {
			w.call("PATCH", version+"/templates/"+c.path, c.body).wants(t, c.status, "")
		}
		w.call("PATCH", version+"/templates/web", `{"public":true}`, "X-API-Key", "e2b_ffff").wants(t, 401, "")
	}
	if public() {
		t.Error("a refusal published it")
	}
}

func TestPublishV1ClaimsTheBareName(t *testing.T) {
	w := newWorld(t)
	w.built(`{"name":"web"}`)
	w.built(`{"name":"web"}`, "X-API-Key", otherKey)
	w.mayPublish(otherTeam)
	w.call("GET", "/templates/aliases/web", "", "X-API-Key", smallKey).wants(t, 404, "")
	for range 2 {
		if r := w.call("PATCH", "/templates/web", `{"public":true}`); r.status != 200 || strings.TrimSpace(r.body) != "null" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	w.call("GET", "/templates/aliases/web", "", "X-API-Key", smallKey).wants(t, 403, "You don't have access to this template alias")
	w.call("PATCH", "/templates/web", `{"public":true}`, "X-API-Key", otherKey).wants(t, 409,
		"Public template name 'web' is already taken. Your template is available at 'other/web'. Please update your CLI to remove this error message.")
	r := w.call("PATCH", "/v2/templates/web", ``)
	if strings.TrimSpace(r.body) != `{"names":["web","local-dev-team/web"]}` {
		t.Errorf("%s", r.body)
	}
	var rows []templateRow
	w.call("GET", "/templates", "").json(t, &rows)
	i := slices.IndexFunc(rows, func(row templateRow) bool { return slices.Contains(row.Aliases, "web") })
	if i < 0 || !slices.Equal(rows[i].Aliases, []string{"web"}) {
		t.Errorf("%+v", rows)
	}
}

// mayPublish gives a team the right to show its templates to others.
func (w *world) mayPublish(teamID string) {
	w.must(w.store.SetMayPublish(w.t.Context(), teamID, true))
	w.auth.Forget()
}

// TestPublishIsARight: without it, nothing of a team reaches other teams.
func TestPublishIsARight(t *testing.T) {
	w := newWorld(t)
	reg := w.built(`{"name":"web"}`, "X-API-Key", otherKey)
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/templates/web", `{"public":true}`, 403}, {"/v2/templates/web", `{"public":true}`, 403},
		{"/templates/otherpublic", `{"public":true}`, 403}, // shown before the right was needed
		{"/v2/templates/web", `{}`, 200}, {"/v2/templates/otherpublic", `{"public":false}`, 200},
	} {
		r := w.call("PATCH", c.path, c.body, "X-API-Key", otherKey)
		r.wants(t, c.status, "may not show template")
		if c.status == 403 && r.field(t, "error_code") != "template.publish" {
			t.Error(r.body)
		}
	}
	w.call("POST", "/v2/sandboxes", `{"templateID":"`+reg.TemplateID+`"}`).wants(t, 404, "not found")
	w.call("GET", "/templates/aliases/web", "").wants(t, 404, "")
	w.mayPublish(otherTeam)
	w.call("PATCH", "/templates/web", `{"public":true}`, "X-API-Key", otherKey).wants(t, 200, "")
	for _, name := range []string{"other/web", "web"} {
		if err := w.ask(smallTeam, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReservedNames: whatever a team does, others that ask for a template that ships with
// Shoal, or that E2B has, do not get the team's.
func TestReservedNames(t *testing.T) {
	w := newWorld(t)
	w.buildsOnUse()
	w.mayPublish(otherTeam)
	other, err := w.store.Team(t.Context(), otherTeam)
	w.must(err)
	for _, name := range []string{"desktop", "code-interpreter-v1", "mcp-gateway"} {
		reg := w.built(`{"name":"`+name+`"}`, "X-API-Key", otherKey)
		r := w.call("PATCH", "/templates/"+name, `{"public":true}`, "X-API-Key", otherKey)
		r.wants(t, 403, "Public template name '"+name+"' is for a template of the operator's team. Your template is available at 'other/"+name+"'.")
		if r.field(t, "error_code") != "template.bare_name" {
			t.Error(r.body)
		}
		if err := w.ask(smallTeam, name); err == nil || err.Status != 404 {
			t.Errorf("another team's %s: %v", name, err)
		}
		own, _, err := w.server.resolveBuild(t.Context(), other, name)
		if err != nil || own.ID != reg.TemplateID {
			t.Errorf("the team's own %s: %s %v", name, own.ID, err)
		}
	}
	for end := time.Now().Add(20 * time.Second); w.ask(smallTeam, "desktop") != nil; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) { // the installation's own team builds and names it
			t.Fatal(w.ask(smallTeam, "desktop"))
		}
	}
}

// TestBaseStays: nobody takes the base template from the other teams.
func TestBaseStays(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"DELETE", "/templates/base", "", 403},
		{"PATCH", "/v2/templates/base", `{"public":false}`, 403},
		{"PATCH", "/templates/base", `{"public":false}`, 403},
		{"PATCH", "/v2/templates/base", `{"public":true}`, 200},
		{"PATCH", "/v2/templates/base", `{}`, 200},
	} {
		r := w.call(c.method, c.path, c.body)
		r.wants(t, c.status, "because it belongs to the installation")
		if c.status == 403 && r.field(t, "error_code") != "template.installation" {
			t.Error(r.body)
		}
	}
	w.create(`{"templateID":"base"}`, "X-API-Key", otherKey)
}
