package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// verdicts are ranges that are refused, and ranges within those that are not. The most
// specific one that contains an address decides. So an operator who allows a wide range
// does not open a metadata service in it, unless he names it.
var verdicts = slices.Concat(
	refuse(
		// Special-purpose addresses of the IANA registry (RFC 6890 and its updates).
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
	refuse("::/0"), allow("2000::/3"), // the rest of IPv6 is not on the internet
	refuse("::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001::/23", "2001:db8::/32", "3fff::/20"),
	refuse(metadata...),
)

// metadata are the addresses at which clouds tell machines and containers their data and
// credentials: AWS (also for ECS and EKS), Google, Azure, Oracle, Alibaba and Tencent Cloud.
// Some are outside the private ranges.
var metadata = []string{"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::254/128",
	"fd00:ec2::23/128", "fd20:ce::254/128", "168.63.129.16/32", "192.0.0.192/32", "fd00:c1::a9fe:a9fe/128",
	"100.100.100.200/32", "169.254.0.23/32"}

// Metadata returns the addresses of clouds' metadata services, one range for each.
func Metadata() []netip.Prefix {
	var list []netip.Prefix
	for _, m := range metadata {
		list = append(list, netip.MustParsePrefix(m))
	}
	return list
}

// embeddings are IPv6 ranges whose addresses stand for an IPv4 address: NAT64 (RFC 6052) and
// 6to4 (RFC 3056). The value is the offset of the embedded IPv4 address, in bytes.
var embeddings = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12,
	netip.MustParsePrefix("2002::/16"):    2,
}

type verdict struct {
	within  netip.Prefix
	allowed bool
	port    uint16 // 0 is every port
}

func refuse(ranges ...string) []verdict { return decide(false, ranges) }
func allow(ranges ...string) []verdict  { return decide(true, ranges) }

func decide(allowed bool, ranges []string) []verdict {
	var list []verdict
	for _, r := range ranges {
		list = append(list, verdict{within: netip.MustParsePrefix(r), allowed: allowed})
	}
	return list
}

// policy decides about destinations.
type policy struct {
	verdicts []verdict
	names    map[string][]uint16 // ports that the operator allows, by lower-case name; 0 is every port
}

func newPolicy(cfg Config) (*policy, error) {
	p := &policy{verdicts: slices.Clone(verdicts), names: map[string][]uint16{}}
	for _, own := range cfg.Own {
		p.verdicts = append(p.verdicts, verdict{within: own.Masked()})
	}
	for _, entry := range cfg.Allow {
		if err := p.allow(entry); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// ParseAllow checks the operator's list of allowed destinations. Each is a CIDR, IP, IP:PORT,
// NAME or NAME:PORT. A name is allowed at whatever address it has.
func ParseAllow(list []string) error {
	_, err := newPolicy(Config{Allow: list})
	return err
}

var namePattern = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]*[a-z0-9])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9])?$`)

func (p *policy) allow(entry string) error {
	if within, err := netip.ParsePrefix(entry); err == nil {
		p.verdicts = append(p.verdicts, verdict{within: within.Masked(), allowed: true})
		return nil
	}
	host, port := entry, uint16(0)
	if h, text, err := net.SplitHostPort(entry); err == nil {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q has no port between 1 and 65535", entry)
		}
		host, port = h, uint16(n)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		p.verdicts = append(p.verdicts, verdict{netip.PrefixFrom(addr, addr.BitLen()), true, port})
		return nil
	}
	name := canonical(host)
	if len(name) > 253 || !namePattern.MatchString(name) || numeric(name) {
		return fmt.Errorf("%q is not a CIDR, an IP address or a host name, with or without a port", entry)
	}
	p.names[name] = append(p.names[name], port)
	return nil
}

// canonical writes a host name in one way.
func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// allowsName reports whether the operator allows a name, wherever it leads.
func (p *policy) allowsName(host string, port uint16) bool {
	ports := p.names[canonical(host)]
	return slices.Contains(ports, 0) || slices.Contains(ports, port)
}

// permits reports whether a connection for a name may go to an address.
func (p *policy) permits(host string, to netip.AddrPort) bool {
	if p.allowsName(host, to.Port()) {
		return true
	}
	addr := to.Addr().Unmap().WithZone("")
	for within, at := range embeddings {
		if within.Contains(addr) {
			bytes := addr.As16()
			addr = netip.AddrFrom4([4]byte(bytes[at : at+4]))
			break
		}
	}
	bits, permitted := -1, true
	for _, v := range p.verdicts {
		if !v.within.Contains(addr) || v.port != 0 && v.port != to.Port() {
			continue
		}
		if n := v.within.Bits(); n > bits || n == bits && v.allowed {
			bits, permitted = n, v.allowed
		}
	}
	// A connection of the host to itself passes no firewall, whichever of its addresses it
	// goes to. Only an operator who names the address wants that. Loopback is in verdicts.
	if bits < addr.BitLen() && !addr.IsLoopback() && isOwn(addr) {
		return false
	}
	return permitted
}

// isOwn reports whether an address is one of this machine's. If that cannot be told, it is.
func isOwn(addr netip.Addr) bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		own, err := netip.ParsePrefix(a.String())
		return err == nil && own.Addr().Unmap() == addr
	})
}

// privateNames end names that only the network they are used in knows (RFC 6761, RFC 6762,
// RFC 8375, and ICANN's reservation of .internal).
var privateNames = []string{".localhost", ".local", ".internal", ".home.arpa"}

// permitsUnresolved decides about a destination that a proxy will look up. Only what the
// name itself says is known then. Some resolvers read more than dotted decimals as an IPv4
// address, such as 127.1 and 0x7f000001.
func (p *policy) permitsUnresolved(host string, port uint16) bool {
	if p.allowsName(host, port) {
		return true
	}
	name := canonical(host)
	if addr, err := netip.ParseAddr(name); err == nil {
		return p.permits(host, netip.AddrPortFrom(addr, port))
	}
	return namePattern.MatchString(name) && !numeric(name) && strings.Contains(name, ".") &&
		!slices.ContainsFunc(privateNames, func(end string) bool { return strings.HasSuffix(name, end) })
}

// numeric reports whether the last label of a name is a number, as in an IPv4 address.
func numeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.Trim(last, "0123456789") == "" {
		return true
	}
	_, err := strconv.ParseUint(last, 0, 64)
	return err == nil
}
