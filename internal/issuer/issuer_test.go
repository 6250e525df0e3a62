package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shoal/internal/issuer/issuertest"
	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// clock is the time of a test, from now on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// trust returns issuers that may be asked on loopback, as the outbound rules allow it.
func trust(t *testing.T, list ...Config) (*Issuers, *clock) {
	t.Helper()
	transport, err := outbound.NewTransport(outbound.Config{Allow: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	s, c := New(list, transport, slog.New(slog.DiscardHandler)), &clock{at: time.Now()}
	s.now = c.now
	return s, c
}

func verifies(t *testing.T, s *Issuers, token string, want shoal.Identity) {
	t.Helper()
	if got, err := s.Verify(t.Context(), token); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func refuses(t *testing.T, s *Issuers, token string, want refusal) {
	t.Helper()
	if got, err := s.Verify(t.Context(), token); !errors.Is(err, want) {
		t.Errorf("got %+v, %v; want %q", got, err, want)
	}
}

func TestVerify(t *testing.T) {
	p, stranger := issuertest.New(t), issuertest.New(t)
	s, _ := trust(t, Config{URL: p.URL(), Audiences: []string{"shoal", "other"}})
	ann := shoal.Identity{Issuer: p.URL(), Subject: "ann"}
	verifies(t, s, p.Token("ann", "shoal"), ann)
	verifies(t, s, p.Token("ann", "other"), ann)
	refuses(t, s, p.Token("ann", "elsewhere"), errAudience)
	refuses(t, s, p.Token("", "shoal"), errSubject)
	refuses(t, s, stranger.Token("ann", "shoal"), errIssuer)

	change := func(f func(*jwt.Claims)) string {
		claims := p.Claims("ann", "shoal")
		f(&claims)
		return issuertest.Sign(t, jose.ES256, p.Key(), claims)
	}
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	refuses(t, s, change(func(c *jwt.Claims) { c.Expiry = in(-time.Minute) }), errExpired)
	refuses(t, s, change(func(c *jwt.Claims) { c.Expiry = nil }), errEndless)
	refuses(t, s, change(func(c *jwt.Claims) { c.NotBefore = in(time.Minute) }), errEarly)
	refuses(t, s, change(func(c *jwt.Claims) { c.IssuedAt = in(time.Minute) }), errEarly)
	refuses(t, s, change(func(c *jwt.Claims) { c.Audience = nil }), errAudience)
	refuses(t, s, change(func(c *jwt.Claims) { c.Issuer += "/" }), errIssuer)
	verifies(t, s, change(func(c *jwt.Claims) { c.Expiry = in(-leeway / 2) }), ann) // clocks differ

	// A stranger's key under the name of the issuer's.
	foreign := stranger.Key()
	foreign.KeyID = p.Key().KeyID
	refuses(t, s, issuertest.Sign(t, jose.ES256, foreign, p.Claims("ann", "shoal")), errSignature)
	foreign.KeyID = ""
	refuses(t, s, issuertest.Sign(t, jose.ES256, foreign, p.Claims("ann", "shoal")), errSignature)
	own := p.Key()
	own.KeyID = ""
	verifies(t, s, issuertest.Sign(t, jose.ES256, own, p.Claims("ann", "shoal")), ann)
}

func TestForgedTokens(t *testing.T) {
	p := issuertest.New(t)
	s, _ := trust(t, Config{URL: p.URL(), Audiences: []string{"shoal"}})
	good := strings.Split(p.Token("ann", "shoal"), ".")
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	none := encode(map[string]string{"alg": "none", "kid": p.Key().KeyID})
	refuses(t, s, none+"."+good[1]+".", errForm)
	refuses(t, s, none+"."+good[1]+"."+good[2], errForm)
	root := encode(map[string]any{"iss": p.URL(), "sub": "root", "aud": "shoal", "exp": time.Now().Add(time.Hour).Unix()})
	refuses(t, s, good[0]+"."+root+"."+good[2], errSignature)
	key := p.Key()
	public, err := json.Marshal(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	// The published key taken for a shared secret.
	refuses(t, s, issuertest.Sign(t, jose.HS256, public, p.Claims("root", "shoal")), errForm)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, s, issuertest.Sign(t, jose.RS256, jose.JSONWebKey{Key: rsaKey, KeyID: p.Key().KeyID}, p.Claims("root", "shoal")), errSignature)
	for _, nonsense := range []string{"", "x", "a.b.c", strings.Repeat("x", maxToken+1), good[0] + "." + good[1]} {
		refuses(t, s, nonsense, errForm)
	}
}

// TestRotation: a new key is asked for when it is first seen, an old one ends, and strangers
// cannot have the issuer asked without end.
func TestRotation(t *testing.T) {
	p := issuertest.New(t)
	s, c := trust(t, Config{URL: p.URL(), Audiences: []string{"shoal"}})
	ann := shoal.Identity{Issuer: p.URL(), Subject: "ann"}
	old := p.Token("ann", "shoal")
	verifies(t, s, old, ann)
	verifies(t, s, old, ann)
	if n := p.Asked(); n != 1 {
		t.Errorf("asked %d times for a key that is known", n)
	}
	c.advance(pause)
	p.Rotate()
	verifies(t, s, p.Token("ann", "shoal"), ann)
	refuses(t, s, old, errSignature)

	unknown := p.Key()
	unknown.KeyID = "unheard-of"
	before := p.Asked()
	for range 20 {
		refuses(t, s, issuertest.Sign(t, jose.ES256, unknown, p.Claims("ann", "shoal")), errSignature)
	}
	if n := p.Asked() - before; n != 0 {
		t.Errorf("asked %d times within the pause", n)
	}
	c.advance(pause)
	refuses(t, s, issuertest.Sign(t, jose.ES256, unknown, p.Claims("ann", "shoal")), errSignature)
	if n := p.Asked() - before; n != 1 {
		t.Errorf("asked %d times after the pause", n)
	}
	c.advance(keysTime)
	verifies(t, s, p.Token("ann", "shoal"), ann)
	if n := p.Asked() - before; n != 2 {
		t.Errorf("asked %d times when the keys were old", n)
	}
}

// TestOutage: known keys serve for a while, and then nobody is let in.
func TestOutage(t *testing.T) {
	p := issuertest.New(t)
	s, c := trust(t, Config{URL: p.URL(), Audiences: []string{"shoal"}})
	claims := p.Claims("ann", "shoal")
	claims.Expiry = jwt.NewNumericDate(time.Now().Add(3 * time.Hour))
	token := issuertest.Sign(t, jose.ES256, p.Key(), claims)
	ann := shoal.Identity{Issuer: p.URL(), Subject: "ann"}
	p.Break(true)
	refuses(t, s, token, errKeys)
	p.Break(false)
	refuses(t, s, token, errKeys) // it was asked just now
	c.advance(pause)
	verifies(t, s, token, ann)
	p.Break(true)
	c.advance(keysTime)
	verifies(t, s, token, ann)
	c.advance(staleTime)
	refuses(t, s, token, errKeys)
	p.Break(false)
	c.advance(pause)
	verifies(t, s, token, ann)
}

// TestDiscovery: what is at the well-known address must speak of the issuer; an operator may name
// another address.
func TestDiscovery(t *testing.T) {
	p := issuertest.New(t)
	p.Pretend("https://somebody.example")
	s, _ := trust(t, Config{URL: p.URL(), Audiences: []string{"shoal"}})
	refuses(t, s, p.Token("ann", "shoal"), errKeys)
	named, _ := trust(t, Config{URL: p.URL(), Discovery: p.URL() + "/.well-known/openid-configuration", Audiences: []string{"shoal"}})
	verifies(t, named, p.Token("ann", "shoal"), shoal.Identity{Issuer: p.URL(), Subject: "ann"})
}

// TestInternalIssuer: an issuer is asked by the rules of outbound connections.
func TestInternalIssuer(t *testing.T) {
	p := issuertest.New(t)
	transport, err := outbound.NewTransport(outbound.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := New([]Config{{URL: p.URL(), Audiences: []string{"shoal"}}}, transport, slog.New(slog.DiscardHandler))
	refuses(t, s, p.Token("ann", "shoal"), errKeys)
	if p.Asked() != 0 {
		t.Error("an internal address was asked that the operator has not allowed")
	}
}

// TestHostileIssuer: whatever an issuer answers, nobody is let in and the asking ends.
func TestHostileIssuer(t *testing.T) {
	p := issuertest.New(t)
	for name, answer := range map[string]string{
		"nothing": "", "no JSON": "<html>", "no keys": `{"keys":[]}`, "null": "null",
		"a secret": `{"keys":[{"kty":"oct","k":"AAAA","kid":"key1"}]}`,
		"too many": `{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`,
		"too much": `{"keys":["` + strings.Repeat("x", maxAnswer) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var hostile *httptest.Server
			hostile = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/keys") {
					_, _ = w.Write([]byte(answer))
					return
				}
				_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL(), "jwks_uri": hostile.URL + "/keys"})
			}))
			defer hostile.Close()
			s, _ := trust(t, Config{URL: p.URL(), Discovery: hostile.URL, Audiences: []string{"shoal"}})
			refuses(t, s, p.Token("ann", "shoal"), errKeys)
		})
	}
}

// FuzzVerify: no token that was not signed by the issuer lets anybody in.
func FuzzVerify(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSJ9.")
	f.Add("a.b.c")
	s := New([]Config{{URL: "https://a.example", Audiences: []string{"x"}}}, http.NewFileTransport(http.Dir("/nonexistent")), slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := s.Verify(t.Context(), token); err == nil || id != (shoal.Identity{}) {
			t.Errorf("%q is of %+v, %v", token, id, err)
		}
	})
}

// BenchmarkVerify measures what a user's token costs each call.
func BenchmarkVerify(b *testing.B) {
	p := issuertest.New(b)
	transport, err := outbound.NewTransport(outbound.Config{Allow: []string{"127.0.0.1"}})
	if err != nil {
		b.Fatal(err)
	}
	s := New([]Config{{URL: p.URL(), Audiences: []string{"shoal"}}}, transport, slog.New(slog.DiscardHandler))
	token := p.Token("ann", "shoal")
	for b.Loop() {
		if _, err := s.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
