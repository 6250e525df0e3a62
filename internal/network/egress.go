package network

import (
	"cmp"
	"encoding/binary"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"

	"shoal/internal/egress"
	"shoal/internal/shoal"
)

// Egress is a parsed policy of what a guest may reach; see ParsePolicy. Allowed addresses
// take precedence over denied ones, and addresses in neither list are reachable. Private
// ranges are always denied. The zero value adds no restrictions.
type Egress struct {
	allow, deny []netip.Prefix // IPv4, masked; in no order, and they may overlap
	// names is nil unless something is decided by name. Then TCP goes through the egress
	// process, and allow and deny are for everything else.
	names *egress.Policy
}

// Of is the policy for a sandbox of a team; authority is what its transforms need (PEM).
func (e Egress) Of(sandboxID, teamID string, authority []byte) Egress {
	if e.names != nil {
		own := *e.names
		own.SandboxID, own.TeamID, own.Authority = sandboxID, teamID, authority
		e.names = &own
	}
	return e
}

// Named tells whether something is decided by name.
func (e Egress) Named() bool { return e.names != nil }

// inProcess is the policy that the egress process holds to: for the connections that it has left
// when nothing is decided by name any more, too.
func (e Egress) inProcess() *egress.Policy {
	if e.names != nil {
		return e.names
	}
	return &egress.Policy{Allow: e.allow, Deny: e.deny}
}

// transforms tells whether requests to some names are changed.
func (e Egress) transforms() bool { return e.names != nil && len(e.names.Transforms) > 0 }

// Nowhere is the policy of a guest that may reach nothing.
func Nowhere() Egress { return Egress{deny: []netip.Prefix{everything}} }

// Equal reports whether both policies allow and deny the same, regardless of how the addresses
// were written.
func (e Egress) Equal(other Egress) bool {
	return sameNames(e.names, other.names) && slices.Equal(merge(e.allow), merge(other.allow)) && slices.Equal(merge(e.deny), merge(other.deny))
}

func sameNames(a, b *egress.Policy) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(merge(a.Allow), merge(b.Allow)) && slices.Equal(merge(a.Deny), merge(b.Deny)) &&
		slices.Equal(slices.Sorted(slices.Values(a.Domains)), slices.Sorted(slices.Values(b.Domains))) &&
		reflect.DeepEqual(a.Proxy, b.Proxy) && maps.EqualFunc(a.Transforms, b.Transforms, func(x, y shoal.Transform) bool {
		return maps.Equal(x.Headers, y.Headers)
	})
}

var (
	everything    = netip.MustParsePrefix("0.0.0.0/0")
	domainPattern = regexp.MustCompile(`^(\*|(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?)$`)
)

// MaxRules is how many entries the lists of one policy have together. The host's kernel keeps a
// guest's lists, so they cost memory that no limit of the guest covers.
const MaxRules = 10_000

// ParsePolicy checks and parses a client's policy. The errors are ErrNetworkPolicy; their
// messages are E2B's (api.md §3.1).
func ParsePolicy(n shoal.Network) (Egress, error) {
	if rules := len(n.AllowOut) + len(n.DenyOut); rules > MaxRules {
		return Egress{}, shoal.ErrNetworkPolicy.New("allowOut and denyOut have %d entries together; at most %d are possible",
			rules, MaxRules)
	}
	var e Egress
	for _, entry := range n.DenyOut {
		p, ok := parseRange(entry)
		if !ok {
			return Egress{}, shoal.ErrNetworkPolicy.New("invalid denied CIDR %s", entry)
		}
		e.deny = append(e.deny, p)
	}
	var domains []string
	for _, entry := range n.AllowOut {
		if p, ok := parseRange(entry); ok {
			e.allow = append(e.allow, p)
		} else if isDomain(entry) {
			domains = append(domains, strings.ToLower(entry))
		} else {
			return Egress{}, shoal.ErrNetworkPolicy.New("invalid allowed address %s", entry)
		}
	}
	if len(domains) > 0 {
		if !slices.Contains(e.deny, everything) {
			return Egress{}, shoal.ErrNetworkPolicy.New("When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic.")
		}
		e.allow = append(e.allow, resolversOf(n)...)
	}
	if n.AllowInternet != nil && !*n.AllowInternet {
		e.deny = []netip.Prefix{everything}
	}
	return e.byName(n, domains), nil
}

// resolversOf are the addresses that are allowed beside domains (clients-2.63.md §3.4).
func resolversOf(n shoal.Network) []netip.Prefix {
	if n.DNSServers == nil {
		return []netip.Prefix{netip.PrefixFrom(resolverIP, 32)}
	}
	var list []netip.Prefix
	for _, text := range n.DNSServers {
		if p, ok := parseRange(text); ok {
			list = append(list, p)
		}
	}
	return list
}

// byName adds what is decided by name, if anything is.
func (e Egress) byName(n shoal.Network, domains []string) Egress {
	if len(domains) == 0 && n.EgressProxy == nil && len(n.Transforms) == 0 {
		return e
	}
	e.names = &egress.Policy{Domains: domains, Allow: e.allow, Deny: e.deny, Proxy: n.EgressProxy,
		Transforms: n.Transforms}
	if n.EgressProxy != nil {
		// The proxy takes TCP. Of everything else only names are looked up, where they may be.
		resolver := e.mayReach(resolverIP)
		e.allow, e.deny = nil, []netip.Prefix{everything}
		if resolver {
			e.allow = []netip.Prefix{netip.PrefixFrom(resolverIP, 32)}
		}
	}
	return e
}

func (e Egress) mayReach(addr netip.Addr) bool {
	covers := func(p netip.Prefix) bool { return p.Contains(addr) }
	return slices.ContainsFunc(e.allow, covers) || !slices.ContainsFunc(e.deny, covers)
}

// parseRange parses an IPv4 address or CIDR. It refuses the unspecified address, except
// as 0.0.0.0/0.
func parseRange(s string) (netip.Prefix, bool) {
	s = strings.TrimSpace(s)
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, 32), addr.Is4() && !addr.IsUnspecified()
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || (p.Addr().IsUnspecified() && p != everything) {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

func isDomain(s string) bool {
	return len(s) <= 253 && domainPattern.MatchString(s)
}

// span is a range of IPv4 addresses, both ends included.
type span struct{ first, last uint32 }

// merge returns the spans that the ranges cover, sorted, with overlapping and adjacent
// ones joined.
func merge(ranges []netip.Prefix) []span {
	var spans []span
	for _, p := range ranges {
		first := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
		spans = append(spans, span{first, first | uint32(uint64(1)<<(32-p.Bits())-1)})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	var merged []span
	for _, sp := range spans {
		if n := len(merged); n > 0 && uint64(sp.first) <= uint64(merged[n-1].last)+1 {
			merged[n-1].last = max(merged[n-1].last, sp.last)
		} else {
			merged = append(merged, sp)
		}
	}
	return merged
}

// elements converts ranges to the elements of an interval set, which must not overlap.
func elements(ranges []netip.Prefix) []nftables.SetElement {
	var out []nftables.SetElement
	for _, sp := range merge(ranges) {
		out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, sp.first)})
		if sp.last != ^uint32(0) { // no address follows the last one, so that interval stays open
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, sp.last+1), IntervalEnd: true})
		}
	}
	return out
}
