// Package network connects each sandbox to the host's network. A sandbox gets a slot: a
// namespace with a link to the sandbox's kernel, an address at which the host reaches
// every port of the guest, and rules for what the guest may reach.
//
//	host ─ shoal-v7 10.12.0.14/31 ── eth0 ─ namespace ns-7 ─ g0 169.254.0.22/30 ── g1 ◄─ packet socket of the kernel
//
// The guest has the address 169.254.0.21 in every namespace, so that a snapshot can be
// restored in any slot.
package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"regexp"

	"shoal/internal/envdapi"
)

// The link between a namespace and its guest, the same in every slot (runtime.md §2.1).
var (
	guestIP      = netip.MustParseAddr("169.254.0.21")
	gatewayIP    = netip.MustParseAddr("169.254.0.22")
	guestMAC     = net.HardwareAddr{0x02, 0xfc, 0, 0, 0, 0x05}
	gatewayMAC   = net.HardwareAddr{0x02, 0xfc, 0, 0, 0, 0x06}
	hyperloopIP  = netip.MustParseAddr(envdapi.HyperloopIP)
	resolverIP   = netip.MustParseAddr("8.8.8.8") // every guest's (runtime.md §2.1)
	linkBits     = 30
	linkMTU      = 1500
	hostLinkName = "eth0" // inside the namespace, towards the host
	gatewayName  = "g0"   // inside the namespace, towards the guest
	guestName    = "g1"   // the other end, where the packet socket listens
)

// Link is the guest's interface.
type Link struct {
	GuestIP   netip.Addr
	PrefixLen int
	Gateway   netip.Addr
	GuestMAC  net.HardwareAddr
	MTU       int
}

// plan computes the names and addresses of slots from their index, which starts at 1.
type plan struct {
	name       string
	host, veth netip.Prefix
	max        int
}

// namePattern leaves room for an index in an interface's name, which has at most 15
// bytes, and keeps one installation's names from being a prefix of another's.
var namePattern = regexp.MustCompile(`^[a-z0-9]{0,8}$`)

func newPlan(name string, host, veth netip.Prefix) (plan, error) {
	if !namePattern.MatchString(name) {
		return plan{}, fmt.Errorf("name %q is not at most 8 lower-case letters and digits", name)
	}
	for _, p := range []netip.Prefix{host, veth} {
		if !p.IsValid() || !p.Addr().Is4() || p.Bits() > 28 {
			return plan{}, fmt.Errorf("%s is not an IPv4 range of at least 16 addresses", p)
		}
	}
	if host.Overlaps(veth) {
		return plan{}, fmt.Errorf("the ranges %s and %s overlap", host, veth)
	}
	hosts, pairs := 1<<(32-host.Bits())-2, 1<<(31-veth.Bits())-1
	return plan{name: name, host: host.Masked(), veth: veth.Masked(), max: min(hosts, pairs, 32766)}, nil
}

func (p plan) hostIP(index int) netip.Addr   { return offset(p.host.Addr(), index) }
func (p plan) vethHost(index int) netip.Addr { return offset(p.veth.Addr(), 2*index) }
func (p plan) vethPeer(index int) netip.Addr { return offset(p.veth.Addr(), 2*index+1) }

// vethHostMAC and vethPeerMAC are fixed so that permanent neighbor entries can be made.
// The host's table of learned neighbors is small and shared by all namespaces.
func (p plan) vethHostMAC(index int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0xfc, 1, 0, byte(index >> 8), byte(index)}
}

func (p plan) vethPeerMAC(index int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0xfc, 2, 0, byte(index >> 8), byte(index)}
}

// linkPrefix starts the host-side names of all slots' links. Rules match it, so no other
// link on the host may have it.
func (p plan) linkPrefix() string {
	if p.name == "" {
		return "shoal-v"
	}
	return p.name + "-v"
}

func (p plan) linkName(index int) string { return fmt.Sprintf("%s%d", p.linkPrefix(), index) }

func (p plan) namespacePrefix() string {
	if p.name == "" {
		return "ns-"
	}
	return p.name + "-ns-"
}

func (p plan) namespaceName(index int) string {
	return fmt.Sprintf("%s%d", p.namespacePrefix(), index)
}

const defaultTable, tablePrefix = "shoal", "shoal-"

// table is the name of our nftables table on the host.
func (p plan) table() string {
	if p.name == "" {
		return defaultTable
	}
	return tablePrefix + p.name
}

func offset(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n))
	return netip.AddrFrom4(b)
}
