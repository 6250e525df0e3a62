package doctor

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/config"
	"shoal/internal/issuer/issuertest"
)

// trusting is a configuration with an issuer on loopback, which may be asked.
func trusting(t *testing.T, url string) *config.Config {
	cfg := settings(t)
	cfg.JWTIssuers = map[string]string{url: "shoal"}
	cfg.OutboundAllow = []string{"127.0.0.1"}
	return cfg
}

func TestIssuers(t *testing.T) {
	p := issuertest.New(t)
	cfg := trusting(t, p.URL())
	wants(t, about(askIssuers(t.Context(), cfg), ""), OK, "1 key(s)")
	wants(t, about(askIssuers(t.Context(), cfg), "clock"), OK, "within")

	cfg.OutboundAllow = nil
	wants(t, about(askIssuers(t.Context(), cfg), ""), Warn, "internal address")
	cfg = trusting(t, p.URL())
	p.Pretend("https://somebody.else")
	wants(t, about(askIssuers(t.Context(), cfg), ""), Warn, "somebody.else")
	p.Break(true)
	wants(t, about(askIssuers(t.Context(), cfg), ""), Warn, "500")
	if got := askIssuers(t.Context(), settings(t)); got != nil {
		t.Errorf("without issuers: %+v", got)
	}
}

// TestSignInIssuers: a provider that has no page to sign in at is told apart from one with.
func TestSignInIssuers(t *testing.T) {
	p := issuertest.New(t)
	cfg := settings(t)
	cfg.OutboundAllow = []string{"127.0.0.1"}
	cfg.SignInIssuers = map[string]string{p.URL(): "client=shoal"}
	wants(t, about(askIssuers(t.Context(), cfg), ""), OK, "1 key(s)")

	bare := publish(t, httptest.NewServer, keysOf(t, p))
	cfg.SignInIssuers = map[string]string{bare.URL: "client=shoal"}
	wants(t, about(askIssuers(t.Context(), cfg), ""), Warn, "sign in at")
	cfg.SignInIssuers, cfg.JWTIssuers = nil, map[string]string{bare.URL: "shoal"}
	wants(t, about(askIssuers(t.Context(), cfg), ""), OK, "1 key(s)")
}

// TestIssuersKeys: an issuer without a key that is of use lets nobody in.
func TestIssuersKeys(t *testing.T) {
	s := publish(t, httptest.NewServer, func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"keys":[]}`) })
	wants(t, about(askIssuers(t.Context(), trusting(t, s.URL)), ""), Warn, "no key")
}

// publish serves an issuer's description, and its keys.
func publish(t *testing.T, serve func(http.Handler) *httptest.Server, keys func(http.ResponseWriter)) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, s.URL, s.URL)
			return
		}
		keys(w)
	}))
	t.Cleanup(s.Close)
	return s
}

// keysOf hands a provider's keys on.
func keysOf(t *testing.T, p *issuertest.Provider) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		resp, err := http.Get(p.URL() + "/keys")
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	}
}

// TestIssuersClock: tokens of an issuer whose clock is wrong are refused.
func TestIssuersClock(t *testing.T) {
	ahead := func(h http.Handler) *httptest.Server { return httptest.NewServer(dated(h, time.Now().Add(time.Hour))) }
	s := publish(t, ahead, keysOf(t, issuertest.New(t)))
	wants(t, about(askIssuers(t.Context(), trusting(t, s.URL)), "clock"), Warn, "ahead of")
}

// TestIssuersAuthority: an issuer behind an authority of the operator's is trusted by trust-ca.
func TestIssuersAuthority(t *testing.T) {
	s := publish(t, httptest.NewTLSServer, keysOf(t, issuertest.New(t)))
	cfg := trusting(t, s.URL)
	wants(t, about(askIssuers(t.Context(), cfg), ""), Warn, "certificate")
	file := filepath.Join(t.TempDir(), "ca.pem")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.TrustCA = []string{file}
	wants(t, about(askIssuers(t.Context(), cfg), ""), OK, "1 key(s)")
}
