package account

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"shoal/internal/config"
	"shoal/internal/issuer"
	"shoal/internal/issuer/issuertest"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// providers are two issuers of which groups make somebody what they are.
func providers(t *testing.T) (list []*issuertest.Provider, issuers []Issuer) {
	t.Helper()
	list = []*issuertest.Provider{issuertest.New(t), issuertest.New(t)}
	a, b := list[0].URL(), list[1].URL()
	cfg := config.Config{SignInIssuers: map[string]string{a: "client=x name=One groups=teams", b: "client=x name=Two"},
		SignInSecret: map[string]string{a: issuertest.ClientSecret, b: issuertest.ClientSecret},
		SignInGroups: map[string]string{a + " staff": "local-dev-team:viewer other:developer", a + " Heads of All": "local-dev-team:admin",
			b + " staff": "other:admin nothing:admin"}}
	parsed, err := cfg.ParseSignIn()
	if err != nil {
		t.Fatal(err)
	}
	transport, err := outbound.NewTransport(outbound.Config{Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		for _, one := range parsed {
			if one.URL == p.URL() {
				issuers = append(issuers, Issuer{Name: one.Name, Roles: one.RolesOf, Client: issuer.NewClient(issuer.ClientConfig{
					URL: one.URL, ID: issuertest.ClientID, Secret: one.Secret, Scopes: one.Scopes, Groups: one.Groups},
					transport, slog.New(slog.DiscardHandler))})
			}
		}
	}
	return list, issuers
}

func (w *world) team(id, slug string) {
	w.t.Helper()
	w.must(w.store.CreateTeam(w.t.Context(), shoal.Team{ID: id, Slug: slug, Name: slug}))
}

// roles are what somebody is in which teams.
func (w *world) roles(email string) string {
	w.t.Helper()
	u, err := w.store.UserByEmail(w.t.Context(), email)
	w.must(err)
	list, err := w.store.Memberships(w.t.Context(), u.ID)
	w.must(err)
	text := ""
	for _, m := range list {
		text += m.Team.Slug + ":" + string(m.Role) + " "
	}
	return text
}

// TestSignInAtIssuer: by a code, bound to the browser; groups make users and roles, and end them.
func TestSignInAtIssuer(t *testing.T) {
	list, issuers := providers(t)
	w := newWorld(t, issuers...)
	w.team("11111111-1111-4111-8111-111111111111", "other")
	w.open("/sign-in").wants(200, "/sign-in", "Sign in with Two")
	one, two := "/sign-in/with?issuer=0", "/sign-in/with?issuer=1"

	list[0].Person(map[string]any{"sub": "17", "email": "Ann@example.com", "email_verified": true, "teams": []string{"staff", "x"}})
	w.open(one).wants(200, "/account", "ann@example.com")
	if got := w.roles("ann@example.com"); got != "local-dev-team:viewer other:developer " && got != "other:developer local-dev-team:viewer " {
		t.Error(got)
	}
	w.browse()
	list[0].Person(map[string]any{"sub": "17", "teams": "Heads of All"}) // one group as a text; the address counts once
	w.open(one).wants(200, "/account", "ann@example.com")
	if got := w.roles("ann@example.com"); got != "local-dev-team:admin " {
		t.Error(got)
	}
	w.browse()
	list[0].Person(map[string]any{"sub": "17"})
	w.open(one).wants(200, "/account", "You are a member of no team")

	// Strangers, whatever they say of their address.
	for name, person := range map[string]map[string]any{"no group": {"sub": "18", "email": "bob@example.com", "email_verified": true},
		"no verified address": {"sub": "19", "email": "bob@example.com", "email_verified": false, "groups": []string{"staff"}},
		"somebody's address":  {"sub": "20", "email": "ann@example.com", "email_verified": true, "groups": []string{"staff"}}} {
		w.browse()
		list[1].Person(person)
		got := w.open(two).wants(403, callbackPath, "shoal user link ADDRESS "+list[1].URL()+" "+person["sub"].(string))
		if _, err := w.store.UserByEmail(t.Context(), "bob@example.com"); err == nil {
			t.Errorf("%s made a user: %s", name, got.text)
		}
	}
	// Who was linked comes in by another issuer too, whose groups speak of other teams.
	u, err := w.store.UserByEmail(t.Context(), "ann@example.com")
	w.must(err)
	w.must(w.store.AddIdentity(t.Context(), u.ID, shoal.Identity{Issuer: list[1].URL(), Subject: "20"}))
	w.browse()
	list[1].Person(map[string]any{"sub": "20", "groups": []string{"staff"}})
	w.open(two).wants(200, "/account", "ann@example.com")
	if got := w.roles("ann@example.com"); got != "other:admin " {
		t.Error(got)
	}
}

// TestForeignCodes: nobody is signed in by what another browser began, nor by made-up answers.
func TestForeignCodes(t *testing.T) {
	list, issuers := providers(t)
	w := newWorld(t, issuers...)
	list[0].Person(map[string]any{"sub": "17", "email": "ann@example.com", "email_verified": true, "teams": "staff"})
	// begin stops before the browser comes back, and returns where it would.
	begin := func() string {
		t.Helper()
		back := ""
		w.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == callbackPath {
				back = r.URL.RequestURI()
				return http.ErrUseLastResponse
			}
			return nil
		}
		w.open("/sign-in/with?issuer=0")
		w.browser.CheckRedirect = nil
		return back
	}
	back := begin()
	w.browse()
	w.open(back).wants(403, callbackPath, "did not begin to sign in")
	begin()
	w.open(back).wants(403, callbackPath, "did not begin to sign in") // another attempt's
	back = begin()
	w.open(regexp.MustCompile(`code=\w+`).ReplaceAllString(back, "code=x")).wants(502, callbackPath, "did not confirm who you are")
	w.open(back).wants(403, callbackPath, "did not begin to sign in") // each attempt serves once
	back = begin()
	w.open(back+"&iss="+url.QueryEscape(list[1].URL())).wants(502, callbackPath, "did not let you in")
	stolen := begin()
	w.browse()
	mine := begin()
	code := regexp.MustCompile(`code=\w+`)
	w.open(code.ReplaceAllString(mine, code.FindString(stolen))).wants(502, callbackPath, "did not confirm who you are")
	for _, claim := range []string{"nonce", "aud", "iss", "azp"} {
		list[0].Person(map[string]any{"sub": "17", "email": "ann@example.com", "email_verified": true, "teams": "staff", claim: "another"})
		w.open("/sign-in/with?issuer=0").wants(502, callbackPath, "did not confirm who you are")
	}
	list[0].Person(nil) // who says no there
	w.open("/sign-in/with?issuer=0").wants(502, callbackPath, "access_denied")
	w.open("/sign-in/with?issuer=7").wants(400, "/sign-in/with", "no such issuer")
	if users, err := w.store.Users(t.Context()); err != nil || len(users) != 1 {
		t.Errorf("%d users, %v", len(users), err)
	}
	list[0].Person(map[string]any{"sub": "17", "email": "ann@example.com", "email_verified": true, "teams": "staff"})
	w.open("/sign-in/with?issuer=0").wants(200, "/account", "ann@example.com")
	if strings.Contains(w.open("/account").text, "nonce") {
		t.Error("a page shows what the browser came back with")
	}
}
