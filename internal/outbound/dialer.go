package outbound

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"shoal/internal/shoal"
)

// dialTimeout bounds the time from a name to a connection, unless Config has another.
const dialTimeout = 10 * time.Second

// Dialer opens TCP connections to destinations that tenants choose. It is safe for
// concurrent use.
type Dialer struct {
	policy   *policy
	resolver *net.Resolver
	names    *names // nil if none are kept
	log      *slog.Logger
	timeout  time.Duration
}

// NewDialer returns a dialer. It opens no connections through a proxy.
func NewDialer(cfg Config) (*Dialer, error) {
	p, err := newPolicy(cfg)
	if err != nil {
		return nil, err
	}
	d := &Dialer{policy: p, resolver: cfg.Resolver, log: cfg.Log,
		timeout: cmp.Or(cfg.Timeout, dialTimeout)}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if cfg.KeepNames > 0 {
		d.names, err = newNames(cfg.Resolver, cfg.KeepNames, d.timeout)
	}
	return d, err
}

// DialContext connects to HOST:PORT. The error for an address that is refused is
// ErrOutboundRefused; others name addresses, and are not for tenants.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	dialer := &net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second, Resolver: d.resolver,
		// This is called between the lookup and each connect, with the address of the latter.
		ControlContext: func(_ context.Context, _, target string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(target)
			if err != nil || !d.policy.permits(host, to) {
				return d.refused(host, port, target)
			}
			return nil
		}}
	if _, err := netip.ParseAddr(host); err == nil || d.names == nil || network != "tcp4" {
		return dialer.DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.names.dial(ctx, host, func(ctx context.Context, a netip.Addr) (net.Conn, error) {
		return dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
	})
}

// Check looks HOST:PORT up, and returns ErrOutboundRefused if one of its addresses is refused now.
// It is for an early answer: what counts is the check of DialContext.
func (d *Dialer) Check(ctx context.Context, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	found, err := cmp.Or(d.resolver, net.DefaultResolver).LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return err
	}
	for _, addr := range found {
		to := netip.AddrPortFrom(addr, uint16(n))
		if !d.policy.permits(host, to) {
			return d.refused(host, port, to.String())
		}
	}
	return nil
}

// checkTime bounds Check.
const checkTime = 2 * time.Second

// permitsUnresolved returns an error if the host in a request must not be given to a proxy.
func (d *Dialer) permitsUnresolved(host, port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !d.policy.permitsUnresolved(host, uint16(n)) {
		return d.refused(host, port, "")
	}
	return nil
}

// refused tells the operator what the tenant is not told.
func (d *Dialer) refused(host, port, target string) error {
	d.log.Info("an internal destination that a tenant's request leads to was refused", "host", host, "port", port,
		"address", target)
	return shoal.ErrOutboundRefused.New("it is at an internal address, or refers to one")
}
