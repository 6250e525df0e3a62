package account

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"shoal/internal/api"
	"shoal/internal/api/gen"
	"shoal/internal/auth"
	"shoal/internal/shoal"
)

// team is a team of who is signed in.
type team struct {
	shoal.Membership
	SeesKeys  bool
	MakesKeys bool
	Keys      []gen.APIKey
}

func (p *Pages) showAccount(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	return p.account(w, r, s, "")
}

// account shows who is signed in and what they have, and a secret that was just made.
func (p *Pages) account(w http.ResponseWriter, r *http.Request, s auth.Session, secret string) error {
	v := view{Title: "Account", Session: s, CSRF: s.CSRF(), Secret: secret, NoMore: p.api.TokensClosed()}
	var err error
	if v.Tokens, err = p.store.AccessTokens(r.Context(), s.User.ID); err != nil {
		return err
	}
	memberships, err := p.store.Memberships(r.Context(), s.User.ID)
	if err != nil {
		return err
	}
	for _, m := range memberships {
		t := team{Membership: m, SeesKeys: m.Role.Rights().Has(shoal.ReadKeys) && !m.Team.Banned,
			MakesKeys: m.Role.Rights().Has(shoal.WriteKeys) && !m.Team.Banned && !m.Team.Blocked}
		if t.SeesKeys {
			if err := p.ask(r, s, m.Team.ID, http.MethodGet, "/api-keys", nil, &t.Keys); err != nil {
				return err
			}
			slices.Reverse(t.Keys)
		}
		v.Teams = append(v.Teams, t)
	}
	return p.show(w, http.StatusOK, "account.html", v)
}

func (p *Pages) makeToken(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	var made gen.CreatedAccessToken
	err := p.ask(r, s, "", http.MethodPost, "/access-tokens", named(r), &made)
	if err != nil {
		return err
	}
	return p.account(w, r, s, made.Token)
}

func (p *Pages) endToken(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	path := "/access-tokens/" + url.PathEscape(r.PostForm.Get("id"))
	return p.done(w, r, p.ask(r, s, "", http.MethodDelete, path, nil, nil))
}

func (p *Pages) makeKey(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	var made gen.CreatedAPIKey
	err := p.ask(r, s, r.PostForm.Get("team"), http.MethodPost, "/api-keys", named(r), &made)
	if err != nil {
		return err
	}
	return p.account(w, r, s, made.Key)
}

func (p *Pages) endKey(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	path := "/api-keys/" + url.PathEscape(r.PostForm.Get("id"))
	return p.done(w, r, p.ask(r, s, r.PostForm.Get("team"), http.MethodDelete, path, nil, nil))
}

func named(r *http.Request) any { return map[string]string{"name": r.PostForm.Get("name")} }

// done leads back to the account after a change.
func (p *Pages) done(w http.ResponseWriter, r *http.Request, err error) error {
	if err == nil {
		http.Redirect(w, r, "/account", http.StatusSeeOther)
	}
	return err
}

// ask has the API do something as who is signed in, for a team or for none.
func (p *Pages) ask(r *http.Request, s auth.Session, teamID, method, path string, body, into any) error {
	status, answer, err := p.api.Ask(r, method, path, http.Header{auth.HeaderCSRF: {s.CSRF()},
		auth.HeaderTeamID: {teamID}}, body)
	if err != nil {
		return err
	}
	if status >= http.StatusBadRequest {
		return api.ErrorOf(status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
