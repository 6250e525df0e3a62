package registry

import (
	"net"
	"net/url"
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
	if out.TLS, err = outbound.Trusting(cfg.CAFiles); err != nil {
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
