package doctor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"shoal/internal/certificate"
	"shoal/internal/config"
)

func TestDomain(t *testing.T) {
	local := func(domain, listen string) *config.Config {
		return &config.Config{TLS: config.TLSLocal, Domain: domain, TLSListen: listen, DataDir: t.TempDir()}
	}
	for name, c := range map[string]struct {
		cfg   *config.Config
		level Level
		want  string
	}{
		"not served":     {&config.Config{TLS: config.TLSOff}, OK, "not served"},
		"other port":     {local("box.localhost", "localhost:8443"), Warn, "ask port 443"},
		"other port too": {local("box.localhost:443", "127.0.0.1:8443"), Warn, "listens on 8443"},
		"no certificate": {&config.Config{TLS: config.TLSFiles, Domain: "box.example", TLSCert: "/nonexistent", TLSKey: "/nonexistent"},
			Warn, "no such file"},
	} {
		r := checkDomain(t.Context(), c.cfg)
		if r.Level != c.level || !strings.Contains(r.Found, c.want) || (r.Level == Warn) != (r.Fix != "") {
			t.Errorf("%s: %+v, want %q", name, r, c.want)
		}
	}
}

// TestTrust: the check tells of an authority that is not trusted, and makes none.
func TestTrust(t *testing.T) {
	cfg := &config.Config{TLS: config.TLSLocal, Domain: "box.localhost", DataDir: t.TempDir()}
	if r, bad := checkTrust(cfg); bad {
		t.Errorf("before the first start: %+v", r)
	}
	if _, err := os.Stat(cfg.Authority()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the check has made an authority: %v", err)
	}
	if _, err := certificate.OpenAuthority(cfg.Authority(), cfg.DomainName()); err != nil {
		t.Fatal(err)
	}
	if r, bad := checkTrust(cfg); !bad || r.Level != Note || r.Fix != "shoal trust" {
		t.Errorf("one that is not trusted: %+v", r)
	}
}

// TestNamesThatAreNotFound: the fix is another below localhost than in DNS.
func TestNamesThatAreNotFound(t *testing.T) {
	none := func(context.Context, string) error { return errors.New("not found") }
	only := func(_ context.Context, name string) error {
		if strings.HasPrefix(name, "api.") {
			return nil
		}
		return errors.New("not found")
	}
	for domain, want := range map[string]string{"box.localhost:8443": "libnss-myhostname", "box.example": "*.box.example"} {
		for _, find := range []func(context.Context, string) error{none, only} {
			if r, bad := checkNames(t.Context(), &config.Config{Domain: domain}, find); !bad || !strings.Contains(r.Fix, want) {
				t.Errorf("%s: %+v", domain, r)
			}
		}
		if r, bad := checkNames(t.Context(), &config.Config{Domain: domain}, func(context.Context, string) error { return nil }); bad {
			t.Errorf("%s, found: %+v", domain, r)
		}
	}
}
