package network

import (
	"encoding/binary"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"

	"shoal/internal/shoal"
)

// Egress says what a guest may reach: Allow wins over Deny, and what neither
// names is reached. Private ranges are denied besides.
type Egress struct {
	Allow, Deny []netip.Prefix
}

var (
	everything    = netip.MustParsePrefix("0.0.0.0/0")
	domainPattern = regexp.MustCompile(`^(\*|(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?)$`)
)

// ParsePolicy checks a client's policy and returns what the kernel is told. The
// messages are E2B's (api.md §3.1); errors are ErrNetworkPolicy, and
// ErrNotImplemented for domains.
func ParsePolicy(n shoal.Network) (Egress, error) {
	var e Egress
	for _, entry := range n.DenyOut {
		p, ok := parseRange(entry)
		if !ok {
			return Egress{}, shoal.ErrNetworkPolicy.New("invalid denied CIDR %s", entry)
		}
		e.Deny = append(e.Deny, p)
	}
	var domains []string
	for _, entry := range n.AllowOut {
		if p, ok := parseRange(entry); ok {
			e.Allow = append(e.Allow, p)
		} else if isDomain(entry) {
			domains = append(domains, entry)
		} else {
			return Egress{}, shoal.ErrNetworkPolicy.New("invalid allowed address %s", entry)
		}
	}
	if len(domains) > 0 {
		if !slices.Contains(e.Deny, everything) {
			return Egress{}, shoal.ErrNetworkPolicy.New("When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic.")
		}
		return Egress{}, shoal.ErrNotImplemented.New("Domains in allowOut (%s) are not available in this version; use IP addresses or CIDRs.", strings.Join(domains, ", "))
	}
	if n.AllowInternet != nil && !*n.AllowInternet {
		e.Deny = []netip.Prefix{everything}
	}
	return e, nil
}

// parseRange takes an IPv4 address or CIDR. The unspecified address is refused
// but for 0.0.0.0/0.
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

// elements turns ranges into the elements of an interval set, which may not
// overlap: they are merged first.
func elements(ranges []netip.Prefix) []nftables.SetElement {
	type span struct{ first, last uint32 }
	var spans []span
	for _, p := range ranges {
		first := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
		spans = append(spans, span{first, first | uint32(uint64(1)<<(32-p.Bits())-1)})
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.first < b.first {
			return -1
		} else if a.first > b.first {
			return 1
		}
		return 0
	})
	var merged []span
	for _, sp := range spans {
		if n := len(merged); n > 0 && uint64(sp.first) <= uint64(merged[n-1].last)+1 {
			merged[n-1].last = max(merged[n-1].last, sp.last)
		} else {
			merged = append(merged, sp)
		}
	}
	var out []nftables.SetElement
	for _, sp := range merged {
		out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, sp.first)})
		if sp.last != ^uint32(0) { // the last address has no next one: the interval stays open
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, sp.last+1), IntervalEnd: true})
		}
	}
	return out
}
