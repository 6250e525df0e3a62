package shares

import (
	"net/http"
	"net/netip"
)

// AddressOf is where a request came from; the zero value if that is no TCP connection.
func AddressOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

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
