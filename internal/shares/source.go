package shares

import "net/netip"

// SourceOf is whose an address of a client is: whoever has one address of an IPv6 network has
// all, so that it is the network's then.
func SourceOf(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	network, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return network.Addr()
}
