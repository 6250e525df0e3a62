// Package outbound makes the connections that the host opens on a tenant's word: to the
// registries that a template names, and to what they refer to. A tenant must not reach
// through the host what the host's place on the network opens to it, so an address is
// refused if it is internal (see policy.go) and the operator has not allowed it.
//
// The check is made on the address that is about to be dialed. So it holds for every
// redirect and login server, and a name that resolves to another address each time gains
// nothing.
package outbound

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config says what may be reached, and how.
type Config struct {
	// Allow names internal destinations that may be reached all the same; see ParseAllow.
	Allow []string
	// Own are this installation's ranges of sandboxes' addresses. A range in Allow opens
	// them only if it lies within them.
	Own []netip.Prefix
	// Proxy is the operator's proxy; see ParseProxy.
	Proxy string
	// TLS is how servers are recognized; nil stands for the system's authorities.
	TLS *tls.Config
	// Resolver finds the addresses of names; nil stands for the host's.
	Resolver *net.Resolver
	// Log is told which destinations were refused; nil stands for nowhere.
	Log *slog.Logger
	// Timeout bounds the time from a name to a connection; 0 stands for 10 seconds.
	Timeout time.Duration
	// KeepNames is how long the IPv4 addresses of a name are used again; 0 stands for not at all.
	KeepNames time.Duration
}
