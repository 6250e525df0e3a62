package api

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// parseNetwork checks the network options of a create.
func (s *Server) parseNetwork(sandboxID string, body gen.NewSandbox, secure bool) (shoal.Network, error) {
	policy := shoal.Network{AllowInternet: body.AllowInternetAccess}
	if n := body.Network; n != nil {
		if n.AllowPublicTraffic != nil && !*n.AllowPublicTraffic {
			if !secure {
				return policy, shoal.ErrBadRequest.New("You cannot create a sandbox without public access unless you enable secure envd access via 'secure' flag.")
			}
			policy.TrafficAccessToken = s.tokens.Traffic(sandboxID)
		}
		if n.MaskRequestHost != nil {
			if err := checkMask(*n.MaskRequestHost); err != nil {
				return policy, err
			}
			policy.MaskRequestHost = *n.MaskRequestHost
		}
		if n := len(deref(n.HttpsPorts)); n > maxHTTPSPorts {
			return policy, shoal.ErrBadRequest.New("network.httpsPorts has %d entries; at most %d are allowed",
				n, maxHTTPSPorts)
		}
		for _, port := range deref(n.HttpsPorts) {
			if port == shoal.EnvdPort {
				return policy, shoal.ErrBadRequest.New("network.httpsPorts: port %d is reserved for the sandbox's daemon", shoal.EnvdPort)
			}
			policy.HTTPSPorts = append(policy.HTTPSPorts, port)
		}
		var err error
		if policy.EgressProxy, err = parseEgressProxy(n.EgressProxy); err != nil {
			return policy, err
		}
		if policy.Transforms, err = parseRules(n.Rules); err != nil {
			return policy, err
		}
		if err := checkDNSServers(n.DnsServers, "network.dnsServers"); err != nil {
			return policy, err
		}
		policy.AllowOut, policy.DenyOut = deref(n.AllowOut), deref(n.DenyOut)
		policy.DNSServers = deref(n.DnsServers)
	}
	return policy, s.checkPolicy(policy)
}

// SetSandboxNetwork replaces the egress policy: lists that are absent are cleared, while
// allow_internet_access changes only if it is present (api.md §3.10).
func (s *Server) SetSandboxNetwork(
	ctx context.Context, req gen.SetSandboxNetworkRequestObject,
) (gen.SetSandboxNetworkResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	body := req.Body
	policy := shoal.Network{AllowInternet: body.AllowInternetAccess, AllowOut: deref(body.AllowOut),
		DenyOut: deref(body.DenyOut), DNSServers: deref(body.DnsServers)}
	if err := s.checkPolicy(policy); err != nil {
		return nil, err
	}
	if err := checkDNSServers(body.DnsServers, "dnsServers"); err != nil {
		return nil, err
	}
	if policy.EgressProxy, err = parseEgressProxy(body.EgressProxy); err != nil {
		return nil, err
	}
	if policy.Transforms, err = parseRules(body.Rules); err != nil {
		return nil, err
	}
	node, sb, err := s.locate(ctx, id)
	if err == nil {
		err = s.allowNetwork(ctx, policy, false, 0)
	}
	if err == nil {
		err = s.allowProxy(ctx, policy.EgressProxy, "egressProxy")
	}
	if err == nil {
		err = s.allowTransforms(ctx, sb.Spec, policy.Transforms)
	}
	if err != nil {
		return nil, err
	}
	if err := node.SetNetwork(ctx, id, policy); err != nil {
		return nil, err
	}
	return gen.SetSandboxNetwork204Response{}, nil
}

// maxDNSServers is the most that a policy may name (clients-2.63.md §3.4).
const maxDNSServers = 10

// checkDNSServers takes IPv4 addresses.
func checkDNSServers(list *[]string, field string) error {
	if n := len(deref(list)); n > maxDNSServers {
		return shoal.ErrBadRequest.New("%s has %d entries; at most %d are allowed", field, n, maxDNSServers)
	}
	for _, text := range deref(list) {
		if addr, err := netip.ParseAddr(text); err != nil || !addr.Is4() {
			return shoal.ErrBadRequest.New("%s: %q is not an IPv4 address", field, text)
		}
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// checkMask takes host[:port] in ASCII, in which ${PORT} stands for the port
// that was asked for.
func checkMask(mask string) error {
	for _, r := range mask {
		if r > 127 {
			return shoal.ErrBadRequest.New("mask request host '%s' is not ASCII. Please use ASCII characters only.", mask)
		}
	}
	invalid := shoal.ErrBadRequest.New("mask request host is not valid: %s", mask)
	host := strings.ReplaceAll(mask, "${PORT}", "65535")
	if h, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return invalid
		}
		host = h
	}
	if net.ParseIP(strings.Trim(host, "[]")) == nil && (len(host) > 253 || !hostName.MatchString(host)) {
		return invalid
	}
	return nil
}
