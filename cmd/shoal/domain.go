package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"shoal/internal/certificate"
	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// domain is the public domain: its addresses and its certificates. Without one, there is
// nothing to run or serve.
type domain struct {
	cfg    *config.Config
	source certificate.Source // nil if nobody here ends TLS
	log    *slog.Logger
}

// openDomain opens the certificates. known is certificate.Open's.
func openDomain(cfg *config.Config, known func(context.Context, string) bool, log *slog.Logger) (*domain, error) {
	source, err := certificate.Open(cfg, known, log)
	if err != nil {
		return nil, fmt.Errorf("open the certificates of the domain: %w", err)
	}
	return &domain{cfg: cfg, source: source, log: log}, nil
}

// run takes care of the certificates until ctx ends.
func (d *domain) run(ctx context.Context) error {
	if d.source == nil {
		return nil
	}
	return d.source.Run(ctx)
}

// endpoints serve the roles at the domain's addresses. A role that another process has is nil.
func (d *domain) endpoints(listeners endpoint.Listeners, api, proxy *http.Server) []endpoint.Endpoint {
	if len(listeners) == 0 {
		return nil
	}
	served := endpoint.Domain{Name: d.cfg.DomainName(), API: api, Proxy: proxy, Trusted: d.cfg.TrustedPrefixes()}
	e := endpoint.Endpoint{Name: "domain", Listeners: listeners, Public: true, Server: served.NewServer(d.source != nil, d.log)}
	if d.source != nil {
		e.TLS = certificate.TLS(d.source)
	}
	return []endpoint.Endpoint{e}
}

// knownTo reports whether a resolver knows a sandbox, without waking it.
func knownTo(resolver func() proxy.Resolver) func(context.Context, string) bool {
	return func(ctx context.Context, id string) bool {
		_, err := resolver().Resolve(ctx, proxy.Request{SandboxID: id, Port: shoal.EnvdPort, Passive: true})
		return !shoal.ErrSandboxNotFound.Matches(err)
	}
}

// greeting is the variables by which clients reach the domain, "" without one.
func (d *domain) greeting() string {
	if !d.cfg.ServesDomain() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  export E2B_DOMAIN=%s\n", d.cfg.Domain)
	if d.cfg.TLS != config.TLSLocal {
		return b.String()
	}
	if authority, err := certificate.OpenAuthority(d.cfg.Authority(), d.cfg.DomainName()); err == nil {
		if _, trusted := authority.Bundle(); !trusted {
			fmt.Fprintf(&b, "  # Programs have to trust Shoal's certificates; `shoal trust` lets curl and browsers.\n")
		}
		b.WriteString(trustLines(authority))
	}
	return b.String()
}
