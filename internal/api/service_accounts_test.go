package api

import (
	"testing"

	"shoal/internal/shoal"
)

// TestServiceAccounts: a program's user from its beginning to its end; its keys may what its role
// allows, and go with it.
func TestServiceAccounts(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	admin := w.member(p, "ann", shoal.DevTeamID, shoal.RoleAdmin)
	foreign := w.member(p, "eve", otherTeam, shoal.RoleAdmin)
	made := w.call("POST", "/service-accounts", `{"name":"ci","role":"viewer"}`, admin...)
	made.wants(t, 201, "")
	path := "/service-accounts/" + made.field(t, "id").(string)
	if made.field(t, "address") != "ci@local-dev-team" || made.field(t, "role") != "viewer" {
		t.Error(made.body)
	}
	w.call("POST", "/service-accounts", `{"name":"ci"}`, admin...).wants(t, 409, "ci@local-dev-team already")
	w.call("POST", "/service-accounts", `{"name":"C I"}`, admin...).wants(t, 400, "lower-case letters")
	w.call("POST", "/service-accounts", `{"name":"x","role":"king"}`, admin...).wants(t, 400, "")
	w.call("POST", "/service-accounts", `{"name":"ci"}`, foreign...).wants(t, 201, "")

	key := w.call("POST", path+"/api-keys", `{"name":"k"}`, admin...)
	key.wants(t, 201, "")
	if key.field(t, "serviceAccountID") != made.field(t, "id") {
		t.Error(key.body)
	}
	narrow := w.call("POST", path+"/api-keys", `{"name":"k","scopes":["templates:read","templates:write"]}`, admin...)
	narrow.wants(t, 201, "")
	as := func(r reply) []string { return []string{"X-API-Key", r.field(t, "key").(string)} }
	w.call("GET", "/sandboxes", "", as(key)...).wants(t, 200, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, as(key)...).wants(t, 403, "The role viewer in the team does not have the right sandboxes:write")
	w.call("PATCH", path, `{"role":"developer"}`, admin...).wants(t, 200, "")
	w.call("POST", "/v2/sandboxes", `{"templateID":"base"}`, as(key)...).wants(t, 201, "")
	e := w.lastAudited("CreateSandboxV2")
	if e.Actor.Kind != shoal.ActorService || e.Actor.ID != made.field(t, "id") || e.TeamID != shoal.DevTeamID {
		t.Errorf("%+v", e)
	}
	w.call("GET", "/sandboxes", "", as(narrow)...).wants(t, 403, "does not have the scope sandboxes:read")
	w.call("GET", "/templates", "", as(narrow)...).wants(t, 200, "")
	w.call("GET", "/api-keys", "", as(key)...).wants(t, 401, "") // no key manages keys

	for method, at := range map[string]string{"PATCH": path, "DELETE": path, "POST": path + "/api-keys"} {
		w.call(method, at, `{"name":"x","role":"owner"}`, foreign...).wants(t, 404, "no service account of this ID")
	}
	w.call("DELETE", "/service-accounts/x", "", admin...).wants(t, 404, "")
	var list []map[string]any
	w.call("GET", "/service-accounts", "", admin...).json(t, &list)
	if len(list) != 1 || list[0]["name"] != "ci" || list[0]["role"] != "developer" {
		t.Errorf("%v", list)
	}
	// Who is dismissed may nothing, and is back when there is a role again.
	w.must(w.store.RemoveMember(t.Context(), shoal.DevTeamID, made.field(t, "id").(string)))
	w.auth.Forget()
	w.call("GET", "/sandboxes", "", as(key)...).wants(t, 401, "no member of the team")
	w.call("PATCH", path, `{"role":"developer"}`, admin...).wants(t, 200, "")
	w.call("GET", "/sandboxes", "", as(key)...).wants(t, 200, "")
	w.call("DELETE", path, "", admin...).wants(t, 204, "")
	w.call("GET", "/sandboxes", "", as(key)...).wants(t, 401, "Cannot get the team for the given API key")
	w.call("DELETE", path, "", admin...).wants(t, 404, "")
}
