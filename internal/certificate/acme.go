package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"shoal/internal/config"
)

// acme is certificates that an ACME authority issues. With a hook there is one for all names
// of the domain; without it there is one for each name, asked for when it is first used.
type acme struct {
	config  *certmagic.Config
	cache   *certmagic.Cache
	managed []string // asked for at the start
	// answers tells whether the authority proves the names by handshakes.
	answers bool
}

var _ Source = (*acme)(nil)

func openACME(cfg *config.Config, known func(context.Context, string) bool, log *slog.Logger) (*acme, error) {
	roots, err := readRoots(cfg.ACMERoots)
	if err != nil {
		return nil, err
	}
	host, port, err := listenPort(cfg)
	if err != nil {
		return nil, err
	}
	a := &acme{managed: []string{"api." + cfg.DomainName()}, answers: cfg.ACMEHook == ""}
	settings := certmagic.Config{
		Storage: &certmagic.FileStorage{Path: cfg.ACMEDir()},
		Logger:  zap.NewNop(), // what matters comes as an event
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			logEvent(log, event, data)
			return nil
		},
	}
	issuer := certmagic.ACMEIssuer{CA: cfg.ACMEDirectory, Email: cfg.ACMEEmail, Agreed: true,
		DisableHTTPChallenge: true, TrustedRoots: roots, ListenHost: host, AltTLSALPNPort: port, Logger: zap.NewNop()}
	if cfg.ACMEHook != "" {
		a.managed = []string{"*." + cfg.DomainName()}
		issuer.DisableTLSALPNChallenge, issuer.DNS01Solver = true, &hook{program: cfg.ACMEHook}
	} else {
		admission, err := openNames(cfg, known)
		if err != nil {
			return nil, err
		}
		settings.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: admission.admit}
	}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{Logger: zap.NewNop(),
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil }})
	a.config = certmagic.New(a.cache, settings)
	a.config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(a.config, issuer)}
	return a, nil
}

// listenPort is where the domain is served, which the library must not take for free.
func listenPort(cfg *config.Config) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(cfg.DomainAddresses()[0])
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	return host, port, err
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read acme-roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s contains no PEM certificate", file)
	}
	return pool, nil
}

func logEvent(log *slog.Logger, event string, data map[string]any) {
	switch event {
	case "cert_obtained":
		log.Info("the ACME authority has issued a certificate", "name", data["identifier"])
	case "cert_failed":
		log.Warn("the ACME authority issues no certificate yet; it is asked again", "name", data["identifier"], "error", data["error"])
	}
}

// Certificate implements Source.
func (a *acme) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.config.GetCertificate(hello)
}

// Protocols implements Source.
func (a *acme) Protocols() []string {
	if a.answers {
		return []string{"acme-tls/1"} // RFC 8737
	}
	return nil
}

// Run implements Source: it asks for certificates, and renews them.
func (a *acme) Run(ctx context.Context) error {
	defer a.cache.Stop()
	if err := a.config.ManageAsync(ctx, a.managed); err != nil {
		return fmt.Errorf("manage the certificates of the domain: %w", err)
	}
	<-ctx.Done()
	return nil
}
