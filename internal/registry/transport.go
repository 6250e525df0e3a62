package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"shoal/internal/outbound"
)

// newTransport returns the HTTP transport to registries. Tenants name them, so they are
// reached as package outbound allows it. The mirrors, which the operator names, are allowed.
func newTransport(cfg Config) (*outbound.Transport, error) {
	out := cfg.Outbound
	out.Allow = slices.Clone(out.Allow)
	for _, mirror := range cfg.Mirrors {
		out.Allow = append(out.Allow, mirrorAddresses(mirror)...)
	}
	if ecr, err := url.Parse(cfg.ECR); err == nil && ecr.Host != "" {
		out.Allow = append(out.Allow, ecr.Host)
	}
	var err error
	if out.TLS, err = trusting(cfg.CAFiles); err != nil {
		return nil, err
	}
	return outbound.NewTransport(out)
}

// mirrorAddresses returns HOST:PORT of a mirror: of both schemes, if it names no port.
func mirrorAddresses(mirror string) []string {
	host, _, _ := strings.Cut(mirror, "/")
	if _, _, err := net.SplitHostPort(host); err == nil {
		return []string{host}
	}
	return []string{net.JoinHostPort(strings.Trim(host, "[]"), "443"), net.JoinHostPort(strings.Trim(host, "[]"), "80")}
}

// trusting returns a TLS configuration that trusts the authorities in the files too. It is
// nil without files.
func trusting(caFiles []string) (*tls.Config, error) {
	if len(caFiles) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	for _, file := range caFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s contains no PEM certificate", file)
		}
	}
	return &tls.Config{RootCAs: pool}, nil
}
