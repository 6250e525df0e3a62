package egress

import (
	"net/netip"
	"slices"
	"strings"

	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

// Policy is what a sandbox with rules about names may reach by TCP.
type Policy struct {
	SandboxID string `json:"sandboxID"`
	TeamID    string `json:"teamID"`
	// Domains are patterns in lower case: a name, "*.suffix" for names below the suffix but not
	// itself, or "*" for all.
	Domains []string `json:"domains,omitempty"`
	// Allow and Deny are IPv4 ranges; Allow comes first, and what is in neither is allowed.
	Allow []netip.Prefix `json:"allow,omitempty"`
	Deny  []netip.Prefix `json:"deny,omitempty"`
	// Proxy, if there is one, is what all connections go through.
	Proxy *shoal.EgressProxy `json:"proxy,omitempty"`
	// Transforms are by domain, as shoal.Network has them.
	Transforms map[string]shoal.Transform `json:"transforms,omitempty"`
	// Authority is the sandbox's certificate authority with its key (PEM); only with Transforms.
	Authority []byte `json:"authority,omitempty"`

	authority *intercept.Authority // of Authority, in the process
}

// verdict is what a policy says of a connection.
type verdict int

const (
	denied verdict = iota
	// allowedName is for the name that the client asked for, whatever address it has dialed.
	allowedName
	// allowedAddress is for the address that the client has dialed, whatever name it asks for.
	allowedAddress
)

// decide is the order of runtime.md §2.3. name is empty for a connection that names no server.
func (p *Policy) decide(name string, to netip.Addr) verdict {
	switch {
	case name != "" && p.names(name):
		return allowedName
	case covers(p.Allow, to):
		return allowedAddress
	case covers(p.Deny, to):
		return denied
	}
	return allowedAddress
}

// names tells whether a name in lower case is one of the allowed domains.
func (p *Policy) names(name string) bool {
	return slices.ContainsFunc(p.Domains, func(pattern string) bool { return matches(pattern, name) })
}

func matches(pattern, name string) bool {
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return suffix == "" || strings.HasSuffix(name, suffix) && len(name) > len(suffix)
	}
	return pattern == name
}

// Knows tells whether a name is one that a rule of the policy is about.
func (p *Policy) Knows(name string) bool {
	if p.names(name) {
		return true
	}
	_, _, transformed := intercept.Match(p.Transforms, name)
	return transformed
}

// permits tells whether a connection that is open already would be allowed now.
func (p *Policy) permits(c *connection) bool {
	now := p.decide(c.name, c.to.Addr())
	if now == denied || now != c.verdict && len(p.Deny) > 0 || !sameProxy(p.Proxy, c.policy.Proxy) {
		return false
	}
	domain, _, _ := intercept.Match(p.Transforms, c.name)
	return domain == c.domain && (domain == "" || sameTransform(p.Transforms, c.policy.Transforms, domain))
}

func covers(ranges []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func sameProxy(a, b *shoal.EgressProxy) bool {
	switch {
	case a == nil || b == nil:
		return a == b
	case a.TLS == nil || b.TLS == nil:
		return a.TLS == b.TLS && a.Address == b.Address && a.Username == b.Username && a.Password == b.Password
	}
	return *a.TLS == *b.TLS && a.Address == b.Address && a.Username == b.Username && a.Password == b.Password
}
