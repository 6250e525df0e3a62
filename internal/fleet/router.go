package fleet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"shoal/internal/auth"
	"shoal/internal/proxy"
	"shoal/internal/shares"
	"shoal/internal/shoal"
)

// Router sends traffic to the proxies on the machines, which apply the sandboxes' access
// rules.
type Router struct {
	fleet   *Fleet
	proxies map[shoal.Node]string // host:port of the proxy on each machine
	rate    shares.Rates[netip.Addr]
	waiters shares.Shares[netip.Addr]
}

var _ proxy.Resolver = (*Router)(nil)

// NewRouter returns a router to the machines of f. addresses are their RPC addresses in
// the order of the fleet's nodes. Each machine's proxy is at the same host and the given
// port.
func NewRouter(f *Fleet, addresses []string, proxyPort string) (*Router, error) {
	r := &Router{fleet: f, proxies: map[shoal.Node]string{},
		rate:    shares.Rates[netip.Addr]{PerSecond: lookupRate, Burst: lookupBurst, Takers: lookupSources},
		waiters: shares.Shares[netip.Addr]{All: lookupWaiters, Each: lookupSourceWaiters}}
	for i, m := range f.members {
		if i >= len(addresses) {
			return nil, fmt.Errorf("node %d has no address", i+1)
		}
		_, bare, found := strings.Cut(addresses[i], "://")
		if !found {
			bare = addresses[i]
		}
		host, _, err := net.SplitHostPort(bare)
		if err != nil {
			return nil, fmt.Errorf("address of node %d: %w", i+1, err)
		}
		r.proxies[m.node] = net.JoinHostPort(host, proxyPort)
	}
	return r, nil
}

// Resolve finds the machine of a sandbox, as last known. Whether the sandbox is there still,
// and what may reach it, only the proxy there knows; if it is not, the request comes back as
// one that has strayed. So a route that is out of date costs time, and leads to no other guest.
func (r *Router) Resolve(ctx context.Context, req proxy.Request) (proxy.Target, error) {
	if req.Strayed != "" {
		r.fleet.sandboxes.forgetOn(req.SandboxID, func(on *member) bool { return r.proxies[on.node] == req.Strayed })
	}
	found, ok := r.fleet.sandboxes.find(req.SandboxID)
	if !ok {
		var err error
		if found, err = r.lookup(ctx, req); err != nil {
			return proxy.Target{}, err
		}
	}
	if err := req.Admit(found.sandbox.TeamID); err != nil {
		return proxy.Target{}, err
	}
	return proxy.Target{Node: r.proxies[found.on.node]}, nil
}

// Anybody can ask for sandboxes that do not exist, and each costs a question to every machine.
const (
	// lookupRate is how many unknown sandboxes a second the machines are asked for on the word
	// of one source, and lookupBurst how many at once. Beyond it, requests wait for the next
	// list of all sandboxes, which all of them share.
	lookupRate  = 20
	lookupBurst = 100
	// lookupSources is how many sources are told apart at once.
	lookupSources = 4096
	// lookupWaiters and lookupSourceWaiters are how many requests wait for such a list, in all
	// and of one source.
	lookupWaiters       = 1024
	lookupSourceWaiters = 256
)

// lookup finds a sandbox that is not known.
func (r *Router) lookup(ctx context.Context, req proxy.Request) (entry, error) {
	if r.fleet.sandboxes.isAbsent(req.SandboxID, time.Now()) {
		return entry{}, shoal.NotFound(req.SandboxID)
	}
	if r.rate.Take(req.Source) {
		return r.fleet.search(ctx, req.SandboxID)
	}
	if err := r.awaitList(ctx, req.Source); err != nil {
		return entry{}, err
	}
	found, ok := r.fleet.sandboxes.find(req.SandboxID)
	if !ok {
		return entry{}, shoal.NotFound(req.SandboxID)
	}
	return found, nil
}

// awaitList returns when every machine that answers has listed its sandboxes anew.
func (r *Router) awaitList(ctx context.Context, source netip.Addr) error {
	if !r.waiters.Take(source, 1) {
		return shoal.ErrLookupLimit.New("Too many requests for unknown sandboxes")
	}
	defer r.waiters.Give(source, 1)
	_ = r.fleet.Sync(ctx) // what is on a machine that does not answer is known or cannot be reached
	return ctx.Err()
}

// ResolveSigned finds the sandbox whose token signed a file URL.
func (r *Router) ResolveSigned(
	ctx context.Context, source netip.Addr, method string, query url.Values,
) (string, error) {
	id, err := auth.FileOwner(maps.All(r.fleet.sandboxes.tokens()), method, query)
	if !shoal.ErrSandboxNotFound.Matches(err) {
		return id, err
	}
	// Of a sandbox that began since the machines were asked, perhaps.
	if err := r.awaitList(ctx, source); err != nil {
		return "", err
	}
	return auth.FileOwner(maps.All(r.fleet.sandboxes.tokens()), method, query)
}
