package api

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// audited returns what the log has, oldest first.
func (w *world) audited() []shoal.AuditEntry {
	w.t.Helper()
	w.must(w.trail.Close(w.t.Context()))
	list, err := w.store.Audit(w.t.Context(), store.AuditQuery{Everything: true, OldestFirst: true, Limit: 10_000})
	w.must(err)
	return list
}

// lastAudited returns the newest entry of an operation.
func (w *world) lastAudited(operation string) shoal.AuditEntry {
	w.t.Helper()
	list := w.audited()
	for _, e := range slices.Backward(list) {
		if e.Operation == operation {
			return e
		}
	}
	w.t.Fatalf("the log has no %s: %+v", operation, list)
	return shoal.AuditEntry{}
}

// TestAuditTells: who did what to what from where, with which outcome.
func TestAuditTells(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	ann := w.member(p, "ann", shoal.DevTeamID, shoal.RoleAdmin)
	annID := func() string {
		u, err := w.store.UserByEmail(t.Context(), "ann@example.com")
		w.must(err)
		return u.ID
	}()

	sandbox := w.create(`{"templateID":"base"}`, "User-Agent", "tool/1", "X-Request-Id", "request-1")
	e := w.lastAudited("CreateSandboxV2")
	keys, err := w.store.Keys(t.Context(), shoal.DevTeamID)
	w.must(err)
	if e.TeamID != shoal.DevTeamID || e.Actor != (shoal.Actor{Kind: shoal.ActorKey, ID: keys[0].ID, Name: "development"}) ||
		e.TargetKind != "sandbox" || e.TargetID != sandbox || e.Address != "127.0.0.1" || e.Agent != "tool/1" ||
		e.RequestID != "request-1" || e.Status != 201 || e.ErrorCode != "" || e.Count != 1 {
		t.Errorf("%+v", e)
	}
	w.call("POST", "/sandboxes/"+sandbox+"/timeout", `{"timeout":-1}`).wants(t, 400, "")
	if e := w.lastAudited("SetSandboxTimeout"); e.TargetID != sandbox || e.Status != 400 || e.ErrorCode != "request.invalid" {
		t.Errorf("%+v", e)
	}
	made := w.call("POST", "/api-keys", `{"name":"ci"}`, ann...)
	made.wants(t, 201, "")
	if e := w.lastAudited("CreateAPIKey"); e.TargetKind != "key" || e.TargetID != made.field(t, "id") ||
		e.Actor != (shoal.Actor{Kind: shoal.ActorUser, ID: annID, UserID: annID, Name: "ann@example.com"}) {
		t.Errorf("%+v", e)
	}
	w.call("GET", "/teams", "", ann[:4]...).wants(t, 200, "") // it makes a key
	if e := w.lastAudited("ListTeams"); e.Actor.ID != annID || e.TeamID != "" {
		t.Errorf("%+v", e)
	}
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken}
	w.call("POST", "/admin/teams/"+strings.ToUpper(otherTeam)+"/api-keys", `{"name":"x"}`, operator...).wants(t, 201, "")
	if e := w.lastAudited("CreateTeamAPIKey"); e.Actor.Kind != shoal.ActorOperator || e.TeamID != otherTeam || e.TargetKind != "key" {
		t.Errorf("%+v", e)
	}
	// Refusals, also of reads.
	viewer := w.member(p, "vic", shoal.DevTeamID, shoal.RoleViewer)
	w.call("GET", "/api-keys", "", viewer...).wants(t, 403, "keys:read")
	if e := w.lastAudited("ListAPIKeys"); e.Actor.Name != "vic@example.com" || e.TeamID != shoal.DevTeamID || e.ErrorCode != "auth.role" {
		t.Errorf("%+v", e)
	}
	w.call("POST", "/admin/teams/"+otherTeam+"/sandboxes/kill", "").wants(t, 401, "")
	if e := w.lastAudited("KillTeamSandboxes"); e.Actor.Kind != shoal.ActorNobody || e.TeamID != "" || e.Status != 401 {
		t.Errorf("somebody fills another team's log: %+v", e)
	}
	w.call("PUT", "/upload?path=x&token=y&expires=9", "").wants(t, 403, "")
	if e := w.lastAudited("UploadTemplateFiles"); e.Actor.Kind != shoal.ActorNobody || e.ErrorCode == "" {
		t.Errorf("%+v", e)
	}
	// The secrets that were used are nowhere.
	for _, e := range w.audited() {
		text := strings.Join([]string{e.Actor.ID, e.Actor.Name, e.TargetID, e.Agent, e.RequestID, e.Operation}, " ")
		if regexp.MustCompile(`e2b_[0-9a-f]{8}|eyJ|` + shoal.DevAdminToken).MatchString(text) {
			t.Errorf("a secret is in %+v", e)
		}
	}
}

// TestEveryWriteIsAudited: each operation that changes something is in the log, whatever comes of
// it, and what only looks is not.
func TestEveryWriteIsAudited(t *testing.T) {
	w := newWorld(t)
	everybody := askers(w)
	byName := func(name string) asker {
		return everybody[slices.IndexFunc(everybody, func(a asker) bool { return a.name == name })]
	}
	callers := []asker{byName("key"), byName("owner"), byName("operator"), byName("access token")}
	spec, err := gen.GetSpec()
	w.must(err)
	w.audited()
	silent := map[string]bool{}
	want := map[string]bool{"ListTeams": true, "GetTemplateFiles": true} // they make keys, and links for uploads
	for route, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			at := slices.IndexFunc(callers, func(a asker) bool { return a.expect(spec, op) == (verdict{}) })
			if at < 0 {
				t.Fatalf("nobody may call %s", op.OperationID)
			}
			body := ""
			if method != http.MethodGet {
				want[op.OperationID] = true
				body = "{}"
			} else if !want[op.OperationID] {
				silent[op.OperationID] = true
			}
			w.call(method, callers[at].path(route), body, callers[at].headers...)
		}
	}
	got := map[string]bool{}
	for _, e := range w.audited() {
		got[e.Operation] = true
		if e.Actor.Kind == shoal.ActorNobody || e.Status == 0 {
			t.Errorf("%+v", e)
		}
	}
	if len(silent) < 20 || !maps.Equal(got, want) {
		t.Errorf("the log has %v\nwant %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// TestListAudit: a team's admins read what concerns it, in pages, and the operator all.
func TestListAudit(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	owner := w.member(p, "owner", shoal.DevTeamID, shoal.RoleOwner)
	operator := []string{"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken, "User-Agent", "operators-tool"}
	for range 5 {
		w.call("DELETE", "/sandboxes/inothing", "").wants(t, 404, "")
	}
	w.call("DELETE", "/sandboxes/inothing", "", "X-API-Key", otherKey).wants(t, 404, "")
	w.call("POST", "/admin/teams/"+shoal.DevTeamID+"/builds/cancel", "", operator...).wants(t, 200, "")
	w.audited()
	rows := func(r reply) (list []gen.AuditEntry) {
		t.Helper()
		r.wants(t, 200, "")
		r.json(t, &list)
		return list
	}
	all := rows(w.call("GET", "/audit", "", owner...))
	if len(all) != 6 || all[0].Operation != "CancelTeamBuilds" || all[0].Address != nil || all[0].UserAgent != nil || all[1].Address == nil {
		t.Fatalf("%+v", all)
	}
	var paged []gen.AuditEntry
	token := ""
	for {
		r := w.call("GET", "/audit?limit=4&nextToken="+token, "", owner...)
		paged = append(paged, rows(r)...)
		if token = r.header.Get("X-Next-Token"); token == "" {
			break
		}
	}
	if len(paged) != 6 || paged[5].Id != all[5].Id {
		t.Errorf("%d in pages", len(paged))
	}
	for query, want := range map[string]int{"operation=KillSandbox": 5, "actor=operator": 1, "actor=key&target=inothing": 5,
		"target=sandbox": 5, "since=2999-01-01T00:00:00Z": 0, "until=2999-01-01T00:00:00Z": 6, "actor=%00": 0, "target=%FF": 0} {
		if got := rows(w.call("GET", "/audit?"+query, "", owner...)); len(got) != want {
			t.Errorf("%s: %d entries, want %d", query, len(got), want)
		}
	}
	for _, wrong := range []string{"nextToken=x", "nextToken=MjAyNi0wMS0wMVQwMDowMDowMFpfX3g=", "since=0001-01-02T00:00:00Z", "limit=101"} {
		w.call("GET", "/audit?"+wrong, "", owner...).wants(t, 400, "")
	}
	if got := rows(w.call("GET", "/admin/audit?operation=KillSandbox", "", operator...)); len(got) != 6 {
		t.Errorf("%+v", got)
	}
	got := rows(w.call("GET", "/admin/audit?team="+shoal.DevTeamID+"&actor=operator", "", operator...))
	if len(got) != 1 || deref(got[0].UserAgent) != "operators-tool" {
		t.Errorf("%+v", got)
	}
}
