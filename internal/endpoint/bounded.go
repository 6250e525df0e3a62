package endpoint

import (
	"net"
	"net/http"
	"net/netip"

	"shoal/internal/shares"
)

// Bounds of an endpoint that anybody can reach. Each connection of a client costs a
// descriptor, and one or two more behind it; the rest of the process's descriptors are kept
// for guests, images and databases.
const (
	// connectionShare is the part of the descriptors that may be connections to one
	// endpoint, and publicShare the part that may be to all of them: with more than three,
	// each has less.
	connectionShare = 6
	publicShare     = 2
	// sourceShare is the part of those that may come from one address. All connections may
	// come from few addresses, if there is a load balancer.
	sourceShare = 2
	// maxConnections bounds what connections cost in memory, some 30 KiB each.
	maxConnections = 16384
)

// serveBounded serves within bounds, which hold for all listeners together. Where one is
// reached, a connection that waits makes room for the new one.
func serveBounded(server *http.Server, listeners Listeners, all, each int) error {
	return new(waiting).serve(server, listeners, all, each)
}

func (w *waiting) serve(server *http.Server, listeners Listeners, all, each int) error {
	w.follow(server)
	bounds := &shares.Shares[netip.Addr]{All: all, Each: each}
	var bounded []*shares.Listener
	for _, l := range listeners {
		bounded = append(bounded, &shares.Listener{Listener: l, Taker: sourceOf, MakeRoom: w.makeRoom, Shares: bounds})
	}
	return serveAll(server, bounded)
}

// sourceOf is whose connection one is.
func sourceOf(c net.Conn) (netip.Addr, bool) {
	return shares.SourceOf(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()), true
}
