package api

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// Bounds of a proxy's settings, in bytes (api.md §3.1, clients-2.63.md §3.4).
const (
	maxProxyCredential = 255
	maxProxyServerName = 253
	maxProxyCA         = 8192
)

// parseEgressProxy checks network.egressProxy, without asking where its host is.
func parseEgressProxy(p *gen.EgressProxy) (*shoal.EgressProxy, error) {
	if p == nil {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(p.Address)
	if err != nil || host == "" {
		return nil, invalidProxy("address must be host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, invalidProxy("port must be between 1 and 65535")
	}
	if addr, err := netip.ParseAddr(host); err == nil && !addr.Is4() {
		return nil, invalidProxy("the host must be a name or an IPv4 address")
	} else if err != nil && (len(host) > 253 || !hostName.MatchString(host)) {
		return nil, invalidProxy("the host is not valid")
	}
	out := &shoal.EgressProxy{Address: net.JoinHostPort(strings.ToLower(host), port), Username: deref(p.Username),
		Password: deref(p.Password)}
	switch {
	case len(out.Username) > maxProxyCredential:
		return nil, invalidProxy("username exceeds %d bytes", maxProxyCredential)
	case len(out.Password) > maxProxyCredential:
		return nil, invalidProxy("password exceeds %d bytes", maxProxyCredential)
	case out.Password != "" && out.Username == "":
		return nil, invalidProxy("password requires a username")
	}
	out.TLS, err = parseProxyTLS(p.Tls)
	return out, err
}

func invalidProxy(format string, args ...any) error {
	return shoal.ErrBadRequest.New("Invalid egress proxy config: "+format, args...)
}

func parseProxyTLS(t *gen.EgressProxyTLS) (*shoal.ProxyTLS, error) {
	if t == nil {
		return nil, nil
	}
	out := &shoal.ProxyTLS{ServerName: deref(t.ServerName), CACert: deref(t.CaCert)}
	if !t.Enabled {
		if t.ServerName != nil || t.CaCert != nil {
			return nil, invalidProxy("tls.serverName and tls.caCert require tls.enabled")
		}
		return nil, nil
	}
	switch {
	case len(out.ServerName) > maxProxyServerName:
		return nil, invalidProxy("tls.serverName exceeds %d bytes", maxProxyServerName)
	case out.ServerName != "" && !hostName.MatchString(out.ServerName):
		return nil, invalidProxy("tls.serverName is not valid")
	case len(out.CACert) > maxProxyCA:
		return nil, invalidProxy("tls.caCert exceeds %d bytes", maxProxyCA)
	case out.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(out.CACert)):
		return nil, invalidProxy("tls.caCert has no PEM certificate")
	}
	return out, nil
}

// allowProxy refuses a proxy of a team that may have none, and one at an internal address. field
// is how the option is named in the request.
func (s *Server) allowProxy(ctx context.Context, p *shoal.EgressProxy, field string) error {
	if p == nil {
		return nil
	}
	err := s.allow(ctx, shoal.SwitchEgressProxies)
	if shoal.ErrSwitchedOff.Matches(err) {
		return shoal.ErrFeatureForbidden.New("Egress proxy (%s) is not enabled for this team.", field)
	}
	if err != nil || s.checkProxy == nil {
		return err
	}
	if err := s.checkProxy(ctx, p.Address); shoal.ErrOutboundRefused.Matches(err) {
		return invalidProxy("the host is at a private or denied address")
	}
	return nil // whoever cannot be found now may be later
}

// wireEgressProxy shows a proxy without what is secret.
func wireEgressProxy(p *shoal.EgressProxy) *gen.EgressProxy {
	if p == nil {
		return nil
	}
	wire := &gen.EgressProxy{Address: p.Address, Username: optional(p.Username)}
	if p.TLS != nil {
		wire.Tls = &gen.EgressProxyTLS{Enabled: true, ServerName: optional(p.TLS.ServerName)}
	}
	return wire
}
