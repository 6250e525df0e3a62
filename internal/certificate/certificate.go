// Package certificate has the certificates by which Shoal ends TLS for its domain: from
// files, by ACME, or of an authority of its own, which machines can be told to trust.
package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"shoal/internal/config"
)

// Source gives the certificate for a connection. Its methods may be called at the same time.
type Source interface {
	// Certificate is what a handshake asks for.
	Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	// Protocols are names that the source answers by itself in a handshake, besides HTTP's.
	Protocols() []string
	// Run does what the source has to do while it is used, until ctx ends.
	Run(ctx context.Context) error
}

// errForeign refuses a handshake for a name that is not below the domain.
var errForeign = errors.New("the name is not of this domain")

// Open returns the source that the settings name, and nil where nobody here ends TLS. known
// says whether there is a sandbox, for names that a certificate is asked for when they are
// first used; nil knows none.
func Open(cfg *config.Config, known func(ctx context.Context, sandboxID string) bool, log *slog.Logger) (Source, error) {
	switch cfg.TLS {
	case config.TLSFiles:
		return openFiles(cfg.TLSCert, cfg.TLSKey, log)
	case config.TLSLocal:
		authority, err := OpenAuthority(cfg.Authority(), cfg.DomainName())
		if err != nil {
			return nil, err
		}
		return newIssued(authority, cfg.DomainName()), nil
	case config.TLSACME:
		return openACME(cfg, known, log)
	case config.TLSOff, config.TLSBalancer:
		return nil, nil
	}
	return nil, fmt.Errorf("tls is %q, which is no source of certificates", cfg.TLS)
}

// TLS returns the settings of connections that the source's certificates are for.
func TLS(s Source) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.Certificate,
		// The server prefers HTTP/2, and adds these two itself if they were not here.
		NextProtos: append([]string{"h2", "http/1.1"}, s.Protocols()...),
	}
}
