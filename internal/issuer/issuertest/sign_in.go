package issuertest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that may have people sign in.
const (
	ClientID     = "shoal+client"
	ClientSecret = "the client's secret: +%"
)

// signedIn is what a code stands for.
type signedIn struct {
	redirect, challenge string
	claims              map[string]any
}

// Person says who signs in at the provider's page from now on, who needs not be asked.
func (p *Provider) Person(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.person = maps.Clone(claims)
}

// authorize is its page.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := r.URL.Query()
	if q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" ||
		q.Get("code_challenge") == "" || q.Get("state") == "" || q.Get("nonce") == "" {
		http.Error(w, "not a request by a code with PKCE, state and nonce: "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}}
	if p.person == nil {
		back.Set("error", "access_denied")
	} else {
		claims := map[string]any{"iss": p.server.URL, "aud": ClientID, "nonce": q.Get("nonce"), "iat": time.Now().Unix(),
			"exp": time.Now().Add(time.Hour).Unix()}
		maps.Copy(claims, p.person)
		code := rand.Text()
		if p.codes == nil {
			p.codes = map[string]signedIn{}
		}
		p.codes[code] = signedIn{q.Get("redirect_uri"), q.Get("code_challenge"), claims}
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// exchange gives a token for a code, once, to the client that it was for.
func (p *Provider) exchange(w http.ResponseWriter, r *http.Request) {
	fail := func(why string) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
	}
	id, secret, _ := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id != ClientID || secret != ClientSecret {
		fail("invalid_client")
		return
	}
	p.mu.Lock()
	code := r.PostFormValue("code")
	got, ok := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	verifier := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != got.redirect ||
		base64.RawURLEncoding.EncodeToString(verifier[:]) != got.challenge {
		fail("invalid_grant")
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "x", "token_type": "Bearer",
		"id_token": Sign(p.t, jose.ES256, p.Key(), got.claims)})
}
