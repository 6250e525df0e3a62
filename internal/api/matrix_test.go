package api

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"shoal/internal/api/gen"
	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// asker is somebody who calls every route. What they may is written down here once more, so that
// the roles of package shoal are tested too.
type asker struct {
	name    string
	headers []string
	// rights are what they may by each way of being authenticated that they have.
	rights   map[string][]string
	personal []string // what they may by AccessToken where that is for no team
	standing string   // blocked, banned or ""
	teamless bool     // an operator who names no team
	team     string   // the one in paths; smallTeam if it is empty
}

var (
	seeing   = []string{"sandboxes:read", "templates:read", "team:read", "secrets:read"}
	working  = append(slices.Clone(seeing), "sandboxes:write", "templates:write", "secrets:write")
	keyMay   = append(slices.Clone(working), "team:write")
	managing = append(slices.Clone(keyMay), "keys:read", "keys:write", "audit:read")
	alone    = []string{"user", "team:read"}
	operator = []string{"operate", "team:read"}
)

// verdict is how a call ends before it reaches a handler; the zero one is that it reaches it.
type verdict struct {
	status int
	text   string // in the message
}

// expect works out the verdict by what the specification states, and by nothing of the code.
func (a asker) expect(spec *openapi3.T, op *openapi3.Operation) verdict {
	required := op.Security
	if required == nil {
		required = &spec.Security
	}
	if len(*required) == 0 {
		return verdict{}
	}
	refusal := verdict{401, ""}
	for _, alternative := range *required {
		way := strings.Join(slices.Sorted(maps.Keys(alternative)), "+")
		rights, ok := a.rights[way]
		standing := a.standing
		if way == "AccessToken" && op.Extensions["x-personal"] == true {
			rights, standing = a.personal, ""
		}
		if way == "UserToken" {
			standing = "" // no team is meant
		}
		if way == "AdminToken+TeamID" && a.teamless {
			refusal = verdict{400, "Invalid admin token teamID."}
		}
		switch {
		case !ok:
			continue
		case standing == "banned":
			return verdict{403, "team is banned"}
		case standing == "blocked" && op.Extensions["x-blocked-team"] != "allowed":
			return verdict{403, "team is blocked: unpaid"}
		case !slices.Contains(rights, op.Extensions["x-shoal-right"].(string)):
			return verdict{403, op.Extensions["x-shoal-right"].(string)}
		}
		return verdict{}
	}
	return refusal
}

// askers makes everybody. They are of teams that have nothing.
func askers(w *world) []asker {
	w.t.Helper()
	ctx := w.t.Context()
	p := w.trust()
	key := func(scopes shoal.Rights) []string {
		plaintext, _, err := auth.NewKeys(w.store).Create(ctx, shoal.APIKey{TeamID: smallTeam, Name: "k", Scopes: scopes})
		w.must(err)
		return []string{"X-API-Key", plaintext}
	}
	byKey := func(rights []string) map[string][]string { return map[string][]string{"ApiKey": rights} }
	byMember := func(rights []string) map[string][]string {
		return map[string][]string{"TeamID+UserToken": rights, "UserToken": alone}
	}
	with := func(pairs ...string) []string { return append([]string{"X-API-Key", ""}, pairs...) }
	const blockedTeam, bannedTeam = "44444444-4444-4444-8444-444444444444", "55555555-5555-4555-8555-555555555555"
	w.team(blockedTeam, "blocked", "e2b_0b", shoal.DefaultTeamLimits())
	w.team(bannedTeam, "banned", "e2b_0c", shoal.DefaultTeamLimits())
	blockedMember := w.member(p, "blockedmember", blockedTeam, shoal.RoleOwner)
	bannedMember := w.member(p, "bannedmember", bannedTeam, shoal.RoleOwner)
	w.must(w.store.SetStanding(ctx, shoal.Team{ID: blockedTeam, Blocked: true, BlockedReason: "unpaid"}))
	w.must(w.store.SetStanding(ctx, shoal.Team{ID: bannedTeam, Banned: true}))
	owner := w.member(p, "owner", smallTeam, shoal.RoleOwner)
	u, err := w.store.UserByEmail(ctx, "owner@example.com")
	w.must(err)
	token, _, err := auth.NewPeople(w.store).CreateToken(ctx, u.ID, "t")
	w.must(err)
	link, err := auth.NewPeople(w.store).Invite(ctx, u.ID)
	w.must(err)
	secret, _, err := w.auth.Accept(ctx, link, "", "correct horse battery")
	w.must(err)
	cookie := auth.Cookie(secret, false).Name + "=" + secret
	session, err := w.auth.SessionOf(ctx, http.Header{"Cookie": {cookie}}, false)
	w.must(err)
	stranger := slices.Clone(owner) // a member elsewhere
	stranger[5] = otherTeam
	hash, err := auth.HashKey("e2b_0d")
	w.must(err)
	w.must(w.store.CreateKey(ctx, shoal.APIKey{ID: "ended", TeamID: smallTeam, Hash: hash, ExpiresAt: time.Now().Add(-time.Second)}))
	service := func(name string, role shoal.Role) []string {
		u, err := auth.NewPeople(w.store).CreateService(ctx, shoal.Team{ID: smallTeam, Slug: "small"}, name, role)
		w.must(err)
		plaintext, _, err := auth.NewKeys(w.store).Create(ctx, shoal.APIKey{TeamID: smallTeam, Name: "k", Owner: u.ID})
		w.must(err)
		return []string{"X-API-Key", plaintext}
	}
	forged := w.member(p, "forged", smallTeam, shoal.RoleOwner)
	forged[3] = forged[3][:len(forged[3])-8] + "AAAAAAAA"
	return []asker{
		{name: "nobody", headers: with()},
		{name: "malformed key", headers: []string{"X-API-Key", "hello"}},
		{name: "unknown key", headers: []string{"X-API-Key", "e2b_ffff"}},
		{name: "key", headers: []string{"X-API-Key", smallKey}, rights: byKey(keyMay)},
		{name: "key beside a stale token", headers: []string{"X-API-Key", smallKey, "Authorization", "Bearer x"}, rights: byKey(keyMay)},
		{name: "key to see sandboxes", headers: key(shoal.ReadSandboxes), rights: byKey([]string{"sandboxes:read"})},
		{name: "key for templates", headers: key(shoal.ReadTemplates | shoal.WriteTemplates), rights: byKey([]string{"templates:read", "templates:write"})},
		{name: "viewing program", headers: service("viewing", shoal.RoleViewer), rights: byKey(seeing)},
		{name: "managing program", headers: service("managing", shoal.RoleAdmin), rights: byKey(keyMay)},
		{name: "expired key", headers: []string{"X-API-Key", "e2b_0d"}},
		{name: "key of a blocked team", headers: []string{"X-API-Key", "e2b_0b"}, rights: byKey(keyMay), standing: "blocked", team: blockedTeam},
		{name: "key of a banned team", headers: []string{"X-API-Key", "e2b_0c"}, rights: byKey(keyMay), standing: "banned"},
		{name: "viewer", headers: w.member(p, "viewer", smallTeam, shoal.RoleViewer), rights: byMember(seeing)},
		{name: "developer", headers: w.member(p, "developer", smallTeam, shoal.RoleDeveloper), rights: byMember(working)},
		{name: "admin", headers: w.member(p, "admin", smallTeam, shoal.RoleAdmin), rights: byMember(managing)},
		{name: "owner", headers: owner, rights: byMember(managing)},
		{name: "signed in", headers: with("Cookie", cookie, auth.HeaderCSRF, session.CSRF(), "X-Team-ID", smallTeam), rights: byMember(managing)},
		{name: "cookie alone", headers: with("Cookie", cookie, "Sec-Fetch-Site", "same-site", "X-Team-ID", smallTeam)},
		{name: "user of no team", headers: owner[:4], rights: map[string][]string{"UserToken": alone}},
		{name: "member of another team", headers: stranger, rights: map[string][]string{"UserToken": alone}},
		{name: "forged token", headers: forged},
		{name: "access token", headers: with("Authorization", "Bearer "+token), rights: map[string][]string{"AccessToken": managing}, personal: alone},
		{name: "unknown access token", headers: with("Authorization", "Bearer sk_e2b_ffff")},
		{name: "operator", headers: with("X-Admin-Token", shoal.DevAdminToken), rights: map[string][]string{"AdminToken": operator}, teamless: true},
		{name: "operator for a team", headers: with("X-Admin-Token", shoal.DevAdminToken, "X-Team-ID", smallTeam),
			rights: map[string][]string{"AdminToken": operator, "AdminToken+TeamID": append(slices.Clone(managing), "operate")}},
		{name: "wrong admin token", headers: with("X-Admin-Token", "x", "X-Team-ID", smallTeam)},
		{name: "blocked owner", headers: blockedMember, rights: byMember(managing), standing: "blocked", team: blockedTeam},
		{name: "banned owner", headers: bannedMember, rights: byMember(managing), standing: "banned"},
	}
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// path fills a route with names of nothing, so that no call changes what another one needs.
func (a asker) path(route string) string {
	return pathParameter.ReplaceAllStringFunc(route, func(name string) string {
		switch name {
		case "{teamID}":
			return cmp.Or(a.team, smallTeam) // admin routes say by the same error that there is no such team
		case "{apiKeyID}", "{accessTokenID}", "{buildID}", "{serviceAccountID}":
			return "66666666-6666-4666-8666-666666666666"
		}
		return "nothing"
	})
}

// TestMatrix calls every route of the specification as everybody.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	everybody := askers(w)
	spec, err := gen.GetSpec()
	w.must(err)
	calls := 0
	for route, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			if stated := op.Extensions["x-shoal-right"] != nil; stated == (op.Security != nil && len(*op.Security) == 0) {
				t.Errorf("%s %s: a right is stated: %v, and everybody may call: %v", method, route, stated, !stated)
				continue
			}
			for _, who := range everybody {
				calls++
				body := ""
				if method != http.MethodGet && method != http.MethodDelete {
					body = "{}"
				}
				want := who.expect(spec, op)
				if got := w.call(method, who.path(route), body, who.headers...); !want.met(t, got) {
					t.Errorf("%s %s as %s: %d %s; want %+v", method, route, who.name, got.status, got.body, want)
				}
			}
		}
	}
	if calls < 1000 {
		t.Errorf("only %d calls", calls)
	}
}

// met reports whether a call ended so. Only authorization answers with codes that begin with auth.
func (v verdict) met(t *testing.T, r reply) bool {
	t.Helper()
	var e struct {
		Message string
		Code    string `json:"error_code"`
	}
	if r.status >= 400 {
		_ = json.Unmarshal([]byte(r.body), &e)
	}
	if v.status == 0 {
		return r.status != 401 && !strings.HasPrefix(e.Code, "auth.")
	}
	return r.status == v.status && (v.status == 400 || strings.HasPrefix(e.Code, "auth.")) && strings.Contains(e.Message, v.text)
}

// TestRightsFitMethods: what only looks needs no right to change, and the other way round.
func TestRightsFitMethods(t *testing.T) {
	spec, err := gen.GetSpec()
	if err != nil {
		t.Fatal(err)
	}
	for route, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			right, _ := op.Extensions["x-shoal-right"].(string)
			looks := method == http.MethodGet && op.OperationID != "GetTemplateFiles" // a link for uploads
			if looks && strings.HasSuffix(right, ":write") || !looks && strings.HasSuffix(right, ":read") {
				t.Errorf("%s %s needs %s", method, route, right)
			}
			// Blocked teams may look and clean up (api.md §2.4).
			if allowed := op.Extensions["x-blocked-team"] == "allowed"; allowed && method != http.MethodGet && method != http.MethodDelete {
				t.Errorf("%s %s is allowed to blocked teams", method, route)
			}
		}
	}
}

// TestForeignNames: with another team's names in every route, nobody sees or changes anything.
func TestForeignNames(t *testing.T) {
	w := newWorld(t)
	p := w.trust()
	sandbox := w.create(`{"templateID":"base","metadata":{"mark":"unmistakable"}}`)
	made := w.call("POST", "/api-keys", `{"name":"unmistakable"}`, w.member(p, "ann", shoal.DevTeamID, shoal.RoleAdmin)...)
	made.wants(t, 201, "")
	keyID := made.field(t, "id").(string)
	reg := w.call("POST", "/v3/templates", `{"name":"unmistakable"}`)
	reg.wants(t, 202, "")
	template, build := reg.field(t, "templateID").(string), reg.field(t, "buildID").(string)
	program := w.call("POST", "/service-accounts", `{"name":"unmistakable"}`, w.member(p, "amy", shoal.DevTeamID, shoal.RoleAdmin)...)
	program.wants(t, 201, "")
	secret := w.call("POST", "/secrets", `{"name":"unmistakable","value":"unmistakable"}`)
	secret.wants(t, 201, "")
	fill := strings.NewReplacer("{secretID}", secret.field(t, "secretID").(string),
		"{serviceAccountID}", program.field(t, "id").(string),
		"{sandboxID}", sandbox, "{templateID}", template, "{buildID}", build,
		"{apiKeyID}", keyID, "{accessTokenID}", shoal.DevAccessTokenID, "{alias}", "local-dev-team%2Funmistakable",
		"{tag}", "default", "{hash}", strings.Repeat("a", 64), "{teamID}", shoal.DevTeamID, "{nodeID}", "n1")
	bodies := map[string]string{"SetSandboxTimeout": `{"timeout":1}`, "ConnectSandbox": `{"timeout":1}`,
		"UpdateTemplate": `{"public":true}`, "UpdateTemplateV2": `{"public":true}`, "RenameAPIKey": `{"name":"stolen"}`,
		"UpdateSecret": `{"value":"stolen"}`, "UpdateServiceAccount": `{"role":"owner"}`, "CreateServiceAccountKey": `{"name":"stolen"}`,
		"StartTemplateBuild": `{"fromTemplate":"base"}`,
		"AssignTemplateTags": `{"target":"local-dev-team/unmistakable","tags":["x"]}`,
		"RemoveTemplateTags": `{"name":"local-dev-team/unmistakable","tags":["default"]}`}
	foreign := map[string][]string{"key": {"X-API-Key", otherKey}, "owner": w.member(p, "eve", otherTeam, shoal.RoleOwner),
		"operator for it": {"X-API-Key", "", "X-Admin-Token", shoal.DevAdminToken, "X-Team-ID", otherTeam}}
	spec, err := gen.GetSpec()
	w.must(err)
	for who, headers := range foreign {
		for route, item := range spec.Paths.Map() {
			for method, op := range item.Operations() {
				if right := op.Extensions["x-shoal-right"]; right == "operate" || right == nil {
					continue
				}
				body := bodies[op.OperationID]
				if body == "" && method != http.MethodGet && method != http.MethodDelete {
					body = "{}"
				}
				r := w.call(method, fill.Replace(route), body, headers...)
				if strings.Contains(r.body, "unmistakable") && r.status < 400 {
					t.Errorf("%s %s as %s shows %d %s", method, route, who, r.status, r.body)
				}
				if strings.Contains(route, "{") && method != http.MethodGet && r.status < 400 {
					t.Errorf("%s %s as %s is answered with %d %s", method, route, who, r.status, r.body)
				}
			}
		}
	}
	w.call("GET", "/sandboxes/"+sandbox, "").wants(t, 200, "")
	after := w.call("GET", "/templates/"+template, "")
	if after.status != 200 || after.field(t, "public") != false {
		t.Errorf("%d %s", after.status, after.body)
	}
	w.call("GET", "/secrets/unmistakable", "").wants(t, 200, `"currentVersion":1`)
	w.call("GET", "/sandboxes", "", "X-API-Key", made.field(t, "key").(string)).wants(t, 200, "")
	w.call("GET", "/templates", "", "X-API-Key", "", "Authorization", "Bearer "+shoal.DevAccessToken).wants(t, 200, "")
}

// TestAccessIsStated: an operation whose access is not stated in full keeps the API from starting.
func TestAccessIsStated(t *testing.T) {
	for name, change := range map[string]func(*openapi3.Operation){
		"no right":       func(op *openapi3.Operation) { delete(op.Extensions, "x-shoal-right") },
		"unknown right":  func(op *openapi3.Operation) { op.Extensions["x-shoal-right"] = "sandboxes:admire" },
		"unknown way":    func(op *openapi3.Operation) { op.Security = &openapi3.SecurityRequirements{{"TeamID": nil}} },
		"right for none": func(op *openapi3.Operation) { op.Security = &openapi3.SecurityRequirements{} },
	} {
		spec, err := gen.GetSpec()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newOperation(spec, "GET", "/sandboxes"); err != nil {
			t.Fatal(err)
		}
		change(spec.Paths.Value("/sandboxes").Get)
		if _, err := newOperation(spec, "GET", "/sandboxes"); err == nil {
			t.Errorf("%s: the operation was taken", name)
		}
	}
}
