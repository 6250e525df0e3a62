package endpoint

import (
	"net"
	"net/netip"

	"shoal/internal/shares"
)

// Bounds of a listener that anybody can reach. Each connection of a client costs a
// descriptor, and one or two more behind it; the rest of the process's descriptors are kept
// for guests, images and databases.
const (
	// connectionShare is the part of the descriptors that may be connections to one
	// listener.
	connectionShare = 6
	// sourceShare is the part of those that may come from one address. All connections may
	// come from few addresses, if there is a load balancer.
	sourceShare = 2
	// maxConnections bounds what connections cost in memory, some 30 KiB each.
	maxConnections = 16384
)

// newBounded bounds a listener by how many descriptors the process may have.
func newBounded(l net.Listener) net.Listener {
	total := shares.OfDescriptors(connectionShare, maxConnections)
	return &shares.Listener{Listener: l, Taker: sourceOf,
		Shares: &shares.Shares[netip.Addr]{All: total, Each: max(total/sourceShare, 1)}}
}

// sourceOf is whose connection one is. Whoever has one address of an IPv6 network has all.
func sourceOf(c net.Conn) (netip.Addr, bool) {
	source := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if source.Is6() {
		network, err := source.Prefix(64)
		return network.Addr(), err == nil
	}
	return source, true
}
