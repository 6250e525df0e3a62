package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/net/proxy"

	"shoal/internal/outbound"
	"shoal/internal/shoal"
)

// dialer opens connections to servers: over IPv4 alone, for which the rules are, and never to
// internal addresses. The check is made on the address that is dialed.
type dialer struct {
	direct *outbound.Dialer
	roots  *x509.CertPool // of tenants' proxies and transformed servers; nil stands for the host's
}

// keepNames is how long an address may be used after a name has got another. A resolver does not say
// how long an answer holds; this is less than the time for which most do.
const keepNames = 3 * time.Second

func newDialer(cfg Config, log *slog.Logger) (*dialer, error) {
	out := outbound.Config{Own: []netip.Prefix{cfg.Hosts, cfg.Links}, Timeout: dialTime, KeepNames: keepNames, Log: log}
	for _, p := range cfg.AllowInternal {
		out.Allow = append(out.Allow, p.String())
	}
	if len(cfg.Resolvers) > 0 {
		out.Resolver = resolverOf(cfg.Resolvers)
	}
	trusted, err := outbound.Trusting(cfg.TrustCA)
	if err != nil {
		return nil, err
	}
	d := &dialer{}
	if trusted != nil {
		d.roots = trusted.RootCAs
	}
	d.direct, err = outbound.NewDialer(out)
	return d, err
}

// resolverOf asks the resolvers in turn.
func resolverOf(list []netip.AddrPort) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var errs error
		for _, at := range list {
			c, err := (&net.Dialer{Timeout: resolverTime}).DialContext(ctx, network, at.String())
			if err == nil {
				return c, nil
			}
			errs = errors.Join(errs, err)
		}
		return nil, errs
	}}
}

const resolverTime = 5 * time.Second

// dial opens the server's end of a connection. A name that is allowed is looked up here, so it
// does not matter what the guest takes for its address. With a proxy of the tenant's own nothing
// is reached but through it.
func (d *dialer) dial(ctx context.Context, c *connection) (net.Conn, error) {
	host := c.to.Addr().String()
	// A name that was not decided about may lead to what is denied.
	if c.verdict == allowedName || c.name != "" && c.policy.Proxy != nil && len(c.policy.Deny) == 0 {
		host = c.name
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(c.to.Port())))
	if c.policy.Proxy != nil {
		return d.through(ctx, c.policy.Proxy, target)
	}
	return d.direct.DialContext(ctx, "tcp4", target)
}

// through opens a connection by a SOCKS5 proxy (RFC 1928, RFC 1929), which looks names up.
func (d *dialer) through(ctx context.Context, p *shoal.EgressProxy, target string) (net.Conn, error) {
	c, err := d.direct.DialContext(ctx, "tcp4", p.Address)
	if err != nil {
		return nil, err
	}
	server, err := d.greet(ctx, c, p, target)
	if err != nil {
		c.Close()
		return nil, err
	}
	return server, nil
}

func (d *dialer) greet(ctx context.Context, c net.Conn, p *shoal.EgressProxy, target string) (net.Conn, error) {
	if p.TLS != nil {
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil {
			return nil, err
		}
		cfg := &tls.Config{ServerName: host, RootCAs: d.roots, MinVersion: tls.VersionTLS12}
		if p.TLS.ServerName != "" {
			cfg.ServerName = p.TLS.ServerName
		}
		if p.TLS.CACert != "" {
			cfg.RootCAs = x509.NewCertPool()
			if !cfg.RootCAs.AppendCertsFromPEM([]byte(p.TLS.CACert)) {
				return nil, errors.New("the proxy's authority cannot be read")
			}
		}
		secured := tls.Client(c, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = secured
	}
	var auth *proxy.Auth
	if p.Username != "" {
		auth = &proxy.Auth{User: p.Username, Password: p.Password}
	}
	socks, err := proxy.SOCKS5("tcp", p.Address, auth, nil)
	if err != nil {
		return nil, err
	}
	asker, ok := socks.(interface {
		DialWithConn(ctx context.Context, c net.Conn, network, address string) (net.Addr, error)
	})
	if !ok {
		return nil, errors.ErrUnsupported
	}
	// On a connection of ours, so that it stays one that the host's kernel moves bytes between.
	if _, err := asker.DialWithConn(ctx, c, "tcp", target); err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}
