package api

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"shoal/internal/auth"
	"shoal/internal/issuer"
	"shoal/internal/issuer/issuertest"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

const audience = "shoal"

// trust lets users in by the tokens of a provider, and returns it.
func (w *world) trust() *issuertest.Provider {
	w.t.Helper()
	p := issuertest.New(w.t)
	transport, err := outbound.NewTransport(outbound.Config{Allow: []string{"127.0.0.1"}})
	w.must(err)
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	w.auth = auth.New(w.store, auth.Config{AdminToken: shoal.DevAdminToken,
		Issuers: issuer.New([]issuer.Config{{URL: p.URL(), Audiences: []string{audience}}}, transport, log)}, log)
	w.serve(Origins{Allowed: []string{AnyOrigin}}, "api", log)
	return p
}

// member makes a user of a role in a team, and returns headers by which they call for it.
func (w *world) member(p *issuertest.Provider, name, teamID string, role shoal.Role) []string {
	w.t.Helper()
	ctx := w.t.Context()
	u, err := auth.NewPeople(w.store).Create(ctx, name+"@example.com")
	w.must(err)
	w.must(w.store.AddIdentity(ctx, u.ID, shoal.Identity{Issuer: p.URL(), Subject: name}))
	w.must(w.store.AddMember(ctx, teamID, u.ID, role))
	return []string{"X-API-Key", "", "Authorization", "Bearer " + p.Token(name, audience), "X-Team-ID", teamID}
}

// TestAPIKeys: the life of a key (api.md §3.16).
func TestAPIKeys(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	admin := w.member(p, "ann", shoal.DevTeamID, shoal.RoleAdmin)
	foreign := w.member(p, "eve", otherTeam, shoal.RoleAdmin)
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken, "X-Team-ID", shoal.DevTeamID}

	made := w.call("POST", "/api-keys", `{"name":" laptop "}`, admin...)
	made.wants(t, 201, "")
	key, id := made.field(t, "key").(string), made.field(t, "id").(string)
	if !strings.HasPrefix(key, "e2b_") || made.field(t, "name") != "laptop" || made.field(t, "createdBy").(map[string]any)["email"] != nil {
		t.Error(made.body)
	}
	w.call("GET", "/sandboxes", "", "X-API-Key", key).wants(t, 200, "")
	find := func(headers []string) map[string]any {
		t.Helper()
		r := w.call("GET", "/api-keys", "", headers...)
		r.wants(t, 200, "")
		if strings.Contains(r.body, key) {
			t.Errorf("the list shows a key: %s", r.body)
		}
		var rows []map[string]any
		r.json(t, &rows)
		for _, row := range rows {
			if row["id"] == id {
				return row
			}
		}
		return nil
	}
	row := find(admin)
	mask, _ := row["mask"].(map[string]any)
	if mask["prefix"] != "e2b_" || mask["valueLength"] != 40.0 || mask["maskedValuePrefix"] != key[4:6] || mask["maskedValueSuffix"] != key[40:] {
		t.Errorf("%v", row)
	}
	if find(operator) == nil || find(foreign) != nil {
		t.Error("the operator does not see the key, or another team does")
	}
	w.call("PATCH", "/api-keys/"+id, `{"name":"desk"}`, foreign...).wants(t, 404, "id not found")
	w.call("DELETE", "/api-keys/"+id, "", foreign...).wants(t, 404, "id not found")
	renamed := w.call("PATCH", "/api-keys/"+id, `{"name":"desk"}`, admin...)
	if renamed.status != 202 || renamed.field(t, "name") != "desk" || find(admin)["name"] != "desk" {
		t.Errorf("%d %s", renamed.status, renamed.body)
	}
	w.call("DELETE", "/api-keys/x", "", admin...).wants(t, 400, "Error when parsing API key ID: ")
	w.call("POST", "/api-keys", `{"name":" "}`, admin...).wants(t, 400, "1 to 128 characters")
	w.call("POST", "/api-keys", `{"name":"x","scopes":["everything"]}`, admin...).wants(t, 400, `No scope of API keys is named "everything"`)
	w.call("POST", "/api-keys", `{"name":"x","scopes":["operate"]}`, admin...).wants(t, 400, "No scope")
	w.call("POST", "/api-keys", `{"name":"x","expiresAt":"2020-01-01T00:00:00Z"}`, admin...).wants(t, 400, "expired already")

	w.call("DELETE", "/api-keys/"+id, "", admin...).wants(t, 204, "")
	w.call("GET", "/sandboxes", "", "X-API-Key", key).wants(t, 401, "Cannot get the team for the given API key")
	w.call("DELETE", "/api-keys/"+id, "", admin...).wants(t, 404, "id not found")
}

// TestScopedKey: a key of some scopes, until its end.
func TestScopedKey(t *testing.T) {
	w := newWorld(t)
	admin := w.member(w.trust(), "ann", shoal.DevTeamID, shoal.RoleAdmin)
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	made := w.call("POST", "/api-keys", `{"name":"ci","scopes":["sandboxes:read"],"expiresAt":"`+end+`"}`, admin...)
	made.wants(t, 201, "")
	key := made.field(t, "key").(string)
	if made.field(t, "expiresAt") != end || made.field(t, "scopes").([]any)[0] != "sandboxes:read" {
		t.Error(made.body)
	}
	w.call("GET", "/sandboxes", "", "X-API-Key", key).wants(t, 200, "")
	r := w.call("POST", "/sandboxes", `{"templateID":"base"}`, "X-API-Key", key)
	r.wants(t, 403, "The API key does not have the scope sandboxes:write")
	if r.field(t, "error_code") != "auth.scope" {
		t.Error(r.body)
	}
}

// TestTeamsOfUser: each call makes a key that works for as long as the role does (api.md §3.15).
func TestTeamsOfUser(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	user := w.member(p, "ann", shoal.DevTeamID, shoal.RoleDeveloper)[:4]
	u, err := w.store.UserByEmail(t.Context(), "ann@example.com")
	w.must(err)
	w.must(w.store.AddMember(t.Context(), otherTeam, u.ID, shoal.RoleViewer))
	type row struct {
		TeamID, Name, APIKey string
		IsDefault            bool
	}
	list := func() (rows []row) {
		t.Helper()
		r := w.call("GET", "/teams", "", user...)
		r.wants(t, 200, "")
		r.json(t, &rows)
		if len(rows) != 2 || rows[0].TeamID != shoal.DevTeamID || !rows[0].IsDefault || rows[1].TeamID != otherTeam || rows[1].IsDefault {
			t.Fatal(r.body)
		}
		return rows
	}
	first, second := list(), list()
	if first[0].APIKey == second[0].APIKey {
		t.Error("the second call has the first one's key")
	}
	w.call("GET", "/templates", "", "X-API-Key", first[0].APIKey).wants(t, 200, "")
	w.create(`{"templateID":"base"}`, "X-API-Key", second[0].APIKey)
	w.call("GET", "/sandboxes", "", "X-API-Key", second[1].APIKey).wants(t, 200, "")
	w.call("POST", "/sandboxes", `{"templateID":"base"}`, "X-API-Key", second[1].APIKey).wants(t, 403, "scope sandboxes:write")
	keys, err := w.store.Keys(t.Context(), shoal.DevTeamID)
	w.must(err)
	if last := keys[len(keys)-1]; last.Name != "CLI login/configure" || last.CreatedBy != u.ID {
		t.Errorf("%+v", last)
	}
	w.must(w.store.RemoveMember(t.Context(), shoal.DevTeamID, u.ID))
	w.auth.Forget()
	w.call("GET", "/templates", "", "X-API-Key", first[0].APIKey).wants(t, 401, "")

	token := []string{"X-API-Key", "", "Authorization", "Bearer " + shoal.DevAccessToken}
	if r := w.call("GET", "/teams", "", token...); r.status != 200 || !strings.Contains(r.body, `"teamID":"`+shoal.DevTeamID+`"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestAccessTokens: the life of a token, which lists templates as older CLIs do.
func TestAccessTokens(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	user := w.member(p, "ann", otherTeam, shoal.RoleDeveloper)[:4]
	other := w.member(p, "eve", otherTeam, shoal.RoleDeveloper)[:4]
	made := w.call("POST", "/access-tokens", `{"name":"cli"}`, user...)
	made.wants(t, 201, "")
	token := []string{"X-API-Key", "", "Authorization", "Bearer " + made.field(t, "token").(string)}
	r := w.call("GET", "/templates", "", token...)
	if r.status != 200 || !strings.Contains(r.body, "otherprivate") {
		t.Errorf("%d %s", r.status, r.body)
	}
	w.call("GET", "/templates?teamID="+otherTeam, "", token...).wants(t, 200, "")
	w.call("GET", "/v2/templates?teamID="+shoal.DevTeamID, "", token...).wants(t, 403, "You are not allowed to access this team")
	w.call("PATCH", "/templates/otherprivate", `{"public":false}`, token...).wants(t, 200, "")
	w.call("GET", "/sandboxes", "", token...).wants(t, 401, "")
	w.call("POST", "/access-tokens", `{"name":"more"}`, token...).wants(t, 401, "Invalid auth provider token.")
	path := "/access-tokens/" + made.field(t, "id").(string)
	w.call("DELETE", path, "", other...).wants(t, 404, "id not found")
	w.call("DELETE", path, "", user...).wants(t, 204, "")
	w.call("GET", "/templates", "", token...).wants(t, 401, "Cannot get the user for the given access token")
	w.call("DELETE", "/access-tokens/x", "", user...).wants(t, 400, "access token ID")

	w.server.noNewTokens = true
	w.call("POST", "/access-tokens", `{"name":"cli"}`, user...).wants(t, 410,
		"Creating new access tokens is disabled. E2B_ACCESS_TOKEN is deprecated; use an API key (E2B_API_KEY) instead. See https://e2b.dev/docs/migration/access-token-deprecation")
}

// TestRoleTakesEffect: at once in the process that changes it or is told.
func TestRoleTakesEffect(t *testing.T) {
	w := newWorld(t)
	viewer := w.member(w.trust(), "ann", shoal.DevTeamID, shoal.RoleViewer)
	w.call("GET", "/sandboxes", "", viewer...).wants(t, 200, "")
	w.call("POST", "/sandboxes", `{"templateID":"base"}`, viewer...).wants(t, 403, "The role viewer in the team does not have the right sandboxes:write")
	u, err := w.store.UserByEmail(t.Context(), "ann@example.com")
	w.must(err)
	w.must(w.store.SetRole(t.Context(), shoal.DevTeamID, u.ID, shoal.RoleDeveloper))
	w.auth.Forget()
	id := w.create(`{"templateID":"base"}`, viewer...)
	w.call("GET", "/sandboxes/"+id, "").wants(t, 200, "")
	if !strings.Contains(w.log.String(), `"user":"`+u.ID+`"`) {
		t.Error("the log does not say who has called")
	}
}

// TestAdminKeys: keys of teams by the operator (api.md §3.16).
func TestAdminKeys(t *testing.T) {
	w := newWorld(t)
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	path := "/admin/teams/" + otherTeam + "/api-keys"
	made := w.call("POST", path, `{"name":"for them"}`, operator...)
	made.wants(t, 201, "")
	if made.field(t, "createdBy") != nil {
		t.Error(made.body)
	}
	key, id := made.field(t, "key").(string), made.field(t, "id").(string)
	w.call("GET", "/templates", "", "X-API-Key", key).wants(t, 200, "")
	w.call("DELETE", "/admin/teams/"+shoal.DevTeamID+"/api-keys/"+id, "", operator...).wants(t, 404, "API key not found")
	w.call("DELETE", path+"/"+id, "", operator...).wants(t, 204, "")
	w.call("GET", "/templates", "", "X-API-Key", key).wants(t, 401, "")
	w.call("DELETE", path+"/"+id, "", operator...).wants(t, 404, "API key not found")
	w.call("POST", "/admin/teams/33333333-3333-4333-8333-333333333333/api-keys", `{"name":"x"}`, operator...).wants(t, 404, "Team not found")
	w.call("POST", "/admin/teams/x/api-keys", `{"name":"x"}`, operator...).wants(t, 400, "Invalid team ID")
	team, err := w.store.Team(t.Context(), otherTeam)
	w.must(err)
	team.Blocked = true
	w.must(w.store.SetStanding(t.Context(), team))
	w.call("POST", path, `{"name":"x"}`, operator...).wants(t, 403, "team is blocked")
	team.Banned = true
	w.must(w.store.SetStanding(t.Context(), team))
	w.call("POST", path, `{"name":"x"}`, operator...).wants(t, 403, "team is banned")
}

// TestKillTeamSandboxes: what runs of one team ends; its paused sandboxes and others' stay.
func TestKillTeamSandboxes(t *testing.T) {
	w := newWorld(t)
	running := []string{w.create(`{"templateID":"base"}`, "X-API-Key", otherKey), w.create(`{"templateID":"base"}`, "X-API-Key", otherKey)}
	paused := w.create(`{"templateID":"base"}`, "X-API-Key", otherKey)
	w.call("POST", "/sandboxes/"+paused+"/pause", "", "X-API-Key", otherKey).wants(t, 204, "")
	foreign := w.create(`{"templateID":"base"}`)
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	kill := func(killed float64) {
		t.Helper()
		r := w.call("POST", "/admin/teams/"+otherTeam+"/sandboxes/kill", "", operator...)
		if r.status != 200 || r.field(t, "killedCount") != killed || r.field(t, "failedCount") != 0.0 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	kill(2)
	for _, id := range running {
		w.call("GET", "/sandboxes/"+id, "", "X-API-Key", otherKey).wants(t, 404, "")
	}
	w.call("GET", "/sandboxes/"+paused, "", "X-API-Key", otherKey).wants(t, 200, "")
	w.call("GET", "/sandboxes/"+foreign, "").wants(t, 200, "")
	kill(0)
	w.call("POST", "/admin/teams/"+otherTeam+"/sandboxes/kill", "").wants(t, 401, "Invalid Access token.")
}

// TestReadersGetNoToken: who may only look at sandboxes gets nothing by which to run commands in
// them.
func TestReadersGetNoToken(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	path := "/sandboxes/" + w.create(`{"templateID":"base"}`)
	reader, _, err := auth.NewKeys(w.store).Create(t.Context(), shoal.APIKey{TeamID: shoal.DevTeamID, Name: "reader",
		Scopes: shoal.ReadSandboxes})
	w.must(err)
	for name, c := range map[string]struct {
		headers []string
		token   bool
	}{
		"a key":           {nil, true},
		"a developer":     {w.member(p, "dev", shoal.DevTeamID, shoal.RoleDeveloper), true},
		"a reader's key":  {[]string{"X-API-Key", reader}, false},
		"somebody's view": {w.member(p, "viewer", shoal.DevTeamID, shoal.RoleViewer), false},
	} {
		r := w.call("GET", path, "", c.headers...)
		r.wants(t, 200, "")
		if got := strings.Contains(r.body, "AccessToken"); got != c.token {
			t.Errorf("%s: a token is in the answer: %v", name, got)
		}
	}
}
