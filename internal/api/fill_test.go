package api

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

const testIssuer = "https://api.shoal.test"

// withTransform is a running sandbox of the development team with a rule for one domain, and a token.
func (w *world) withTransform(value string) string {
	id := shoal.NewSandboxID()
	w.node.Put(shoal.Sandbox{State: shoal.StateRunning, EndAt: time.Now().Add(time.Hour),
		Spec: shoal.Spec{SandboxID: id, TeamID: shoal.DevTeamID, TemplateID: "base",
			WorkloadTokens: map[string]shoal.WorkloadToken{"Tok": {Audience: "aud", Type: jwtSVID}},
			Network: shoal.Network{Transforms: map[string]shoal.Transform{
				"api.example.com": {Headers: map[string]string{"Authorization": "Bearer " + value}},
				"other.example":   {Headers: map[string]string{"X-Plain": "text"}}}}}})
	return id
}

// TestFillIsChecked: a value is given for what the sandbox's own rule of that domain names, and for
// nothing else, whatever the machine says.
func TestFillIsChecked(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/secrets", `{"name":"key","value":"ours"}`).wants(t, 201, "")
	w.call("POST", "/secrets", `{"name":"unnamed","value":"ours"}`).wants(t, 201, "")
	w.call("POST", "/secrets", `{"name":"lines","value":"a\nb"}`).wants(t, 201, "")
	w.call("POST", "/secrets", `{"name":"theirs","value":"theirs"}`, "X-API-Key", otherKey).wants(t, 201, "")
	id := w.withTransform("${e2b.secrets.KEY} ${e2b.secrets.theirs} ${e2b.secrets.lines} ${e2b.identity.tokens.Tok} ${e2b.identity.tokens.none}")
	secret := func(name string) shoal.Placeholder {
		return shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: name}
	}
	ask := func(sandbox, domain string, wanted ...shoal.Placeholder) (map[shoal.Placeholder]string, error) {
		return w.server.fill(t.Context(), w.node, shoal.Fill{SandboxID: sandbox, Domain: domain, Wanted: wanted})
	}
	const domain = "api.example.com"
	if got, err := ask(id, domain, secret("key"), secret("key")); err != nil || len(got) != 1 || got[secret("key")] != "ours" {
		t.Errorf("%v, %v", got, err)
	}
	token := shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "none"}
	refused := func(name string, err error) {
		t.Helper()
		if !shoal.ErrFillRefused.Matches(err) || strings.Contains(err.Error(), "ours") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, wanted := range map[string]shoal.Placeholder{"one that no header names": secret("unnamed"),
		"another team's": secret("theirs"), "one with lines": secret("lines"), "a token that was not asked for": token} {
		_, err := ask(id, domain, wanted)
		refused(name, err)
	}
	_, err := ask(id, "other.example", secret("key"))
	refused("another domain", err)
	_, err = ask(id, "sub.api.example.com", secret("key"))
	refused("no domain of the sandbox's", err)
	if _, err = ask("inone", domain, secret("key")); !shoal.ErrSandboxNotFound.Matches(err) {
		t.Error(err)
	}
	foreign, err := w.node.Get(t.Context(), id)
	w.must(err)
	foreign.SandboxID, foreign.TeamID = "iforeign", otherTeam
	w.node.Put(foreign)
	_, err = ask("iforeign", domain, secret("key"))
	refused("a sandbox of another team", err)
	if got, err := ask("iforeign", domain, secret("theirs")); err != nil || got[secret("theirs")] != "theirs" {
		t.Errorf("%v, %v", got, err)
	}
	w.operate("PUT", "/admin/teams/"+shoal.DevTeamID+"/switches/secrets", `{"on":false}`).wants(t, 200, "")
	_, err = ask(id, domain, secret("key"))
	refused("switched off", err)
	w.operate("PUT", "/admin/teams/"+shoal.DevTeamID+"/switches/secrets", `{"on":true}`).wants(t, 200, "")
	w.call("DELETE", "/secrets/key", "").wants(t, 204, "")
	_, err = ask(id, domain, secret("key"))
	refused("a secret that is gone", err)
	w.must(w.store.SetStanding(t.Context(), shoal.Team{ID: otherTeam, Blocked: true}))
	_, err = ask("iforeign", domain, secret("theirs"))
	refused("a blocked team", err)
}

// TestUsesAreAudited: many uses of a secret are one entry of the team's log, with their number.
func TestUsesAreAudited(t *testing.T) {
	w := newWorld(t)
	made := w.call("POST", "/secrets", `{"name":"key","value":"ours"}`)
	id := w.withTransform("${e2b.secrets.key} ${e2b.identity.tokens.Tok}")
	wanted := []shoal.Placeholder{{Kind: shoal.PlaceholderSecret, Name: "key"}, {Kind: shoal.PlaceholderToken, Name: "Tok"}}
	const uses = 200
	for range uses {
		_, err := w.server.fill(t.Context(), w.node, shoal.Fill{SandboxID: id, Domain: "api.example.com", Wanted: wanted})
		w.must(err)
	}
	w.must(w.trail.Close(t.Context()))
	for operation, target := range map[string]string{shoal.AuditSecretUsed: made.field(t, "secretID").(string), shoal.AuditTokenUsed: "Tok"} {
		list, err := w.store.Audit(t.Context(), store.AuditQuery{TeamID: shoal.DevTeamID, Operation: operation, Limit: 100})
		w.must(err)
		var count int64
		for _, e := range list {
			count += e.Count
			if e.TargetID != target || e.Actor.Kind != shoal.ActorSandbox || e.Actor.ID != id || e.Address != "api.example.com" {
				t.Errorf("%+v", e)
			}
		}
		if count != uses || len(list) > 2 { // a minute may have ended
			t.Errorf("%s: %d uses in %d entries", operation, count, len(list))
		}
	}
}

// TestIdentity: a token says who the sandbox is, and is checked by what the API publishes without a
// credential, with a library.
func TestIdentity(t *testing.T) {
	w := newWorld(t)
	id := w.withTransform("${e2b.identity.tokens.Tok}")
	p := shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "Tok"}
	values, err := w.server.fill(t.Context(), w.node, shoal.Fill{SandboxID: id, Domain: "api.example.com", Wanted: []shoal.Placeholder{p}})
	w.must(err)
	about := w.call("GET", "/.well-known/openid-configuration", "", "X-API-Key", "")
	about.wants(t, 200, "")
	if about.field(t, "issuer") != testIssuer || about.field(t, "jwks_uri") != testIssuer+"/.well-known/jwks.json" {
		t.Error(about.body)
	}
	published := w.call("GET", "/.well-known/jwks.json", "", "X-API-Key", "")
	published.wants(t, 200, "")
	var keys jose.JSONWebKeySet
	published.json(t, &keys)
	if len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() || strings.Contains(published.body, `"d"`) {
		t.Error(published.body)
	}
	token, err := jwt.ParseSigned(values[p], []jose.SignatureAlgorithm{jose.ES256})
	w.must(err)
	var registered jwt.Claims
	var own struct {
		Team     string `json:"team"`
		Template string `json:"template"`
		Sandbox  string `json:"sandbox"`
	}
	w.must(token.Claims(keys, &registered, &own))
	w.must(registered.ValidateWithLeeway(jwt.Expected{Issuer: testIssuer, AnyAudience: jwt.Audience{"aud"}, Time: time.Now(),
		Subject: "spiffe://shoal.test/team/" + shoal.DevTeamID + "/template/base/sandbox/" + id}, time.Second))
	if life := registered.Expiry.Time().Sub(registered.IssuedAt.Time()); life > 10*time.Minute || registered.ID == "" || registered.NotBefore == nil {
		t.Errorf("%+v", registered)
	}
	if own.Team != shoal.DevTeamID || own.Template != "base" || own.Sandbox != id {
		t.Errorf("%+v", own)
	}
}

// TestTokensOfASandbox: they are kept from the create, its copies have them too, and none is made
// while they are switched off.
func TestTokensOfASandbox(t *testing.T) {
	w := newWorld(t)
	body := `{"templateID":"base","iam":{"tokens":{"Tok":{"audience":"aud","tokenType":"JWT-SVID"}}}}`
	id := w.create(body)
	forks := w.call("POST", "/sandboxes/"+id+"/fork", `{"timeout":60}`)
	forks.wants(t, 201, "")
	list, err := w.node.List(t.Context())
	w.must(err)
	if len(list) != 2 {
		t.Fatalf("%d sandboxes", len(list))
	}
	for _, sb := range list {
		if want := (shoal.WorkloadToken{Audience: "aud", Type: jwtSVID}); sb.WorkloadTokens["Tok"] != want {
			t.Errorf("%s has %+v", sb.SandboxID, sb.WorkloadTokens)
		}
	}
	w.operate("PUT", "/admin/switches/workload-tokens", `{"on":false}`).wants(t, 200, "")
	w.call("POST", "/sandboxes", body).wants(t, 400, "Sandbox IAM workload tokens are not available for your team.")
	w.call("POST", "/sandboxes", `{"templateID":"base","iam":{"tokens":{}}}`).wants(t, 201, "")
}
