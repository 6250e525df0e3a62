// Package issuertest is a provider of tokens for tests: a real server with keys that it publishes
// and changes, and signatures by a library.
package issuertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Provider signs tokens and publishes the keys for checking them.
type Provider struct {
	t      testing.TB
	server *httptest.Server

	mu     sync.Mutex // guards the rest
	name   string     // the issuer that it says it is
	keys   []jose.JSONWebKey
	number int
	asked  int
	broken bool
	codes  map[string]signedIn
	person map[string]any // the claims of who signs in at its page
}

// New starts a provider with one key, until the test ends.
func New(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.describe)
	mux.HandleFunc("GET /keys", p.publish)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.exchange)
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	p.name = p.server.URL
	p.Rotate()
	return p
}

// URL is the issuer's.
func (p *Provider) URL() string { return p.server.URL }

func (p *Provider) describe(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.name, "jwks_uri": p.server.URL + "/keys",
		"authorization_endpoint": p.server.URL + "/authorize", "token_endpoint": p.server.URL + "/token"})
}

func (p *Provider) publish(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	public := []any{map[string]string{"kty": "of-the-future", "kid": "x"}}
	for _, key := range p.keys {
		public = append(public, key.Public())
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": public})
}

// Rotate makes a new key, by which it signs from now on, and forgets the others.
func (p *Provider) Rotate() {
	p.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	p.keys = []jose.JSONWebKey{{Key: private, KeyID: fmt.Sprint("key", p.number), Algorithm: string(jose.ES256), Use: "sig"}}
}

// Break has it answer that it is broken, or no longer.
func (p *Provider) Break(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// Pretend has it say that it is another issuer.
func (p *Provider) Pretend(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name = name
}

// Asked is how often its keys were asked for.
func (p *Provider) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// Key is the private key by which it signs.
func (p *Provider) Key() jose.JSONWebKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[0]
}

// Claims are those of a token that is good for an hour.
func (p *Provider) Claims(subject, audience string) jwt.Claims {
	return jwt.Claims{Issuer: p.server.URL, Subject: subject, Audience: jwt.Audience{"another", audience},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
}

// Token signs a token that is good for an hour.
func (p *Provider) Token(subject, audience string) string {
	p.t.Helper()
	return Sign(p.t, jose.ES256, p.Key(), p.Claims(subject, audience))
}

// Sign signs claims.
func Sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
