package fleet

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"shoal/internal/auth"
	"shoal/internal/proxy"
	"shoal/internal/shoal"
)

// Router sends traffic to the proxies on the machines, which apply the sandboxes' access
// rules.
type Router struct {
	fleet   *Fleet
	proxies map[shoal.Node]string // host:port of the proxy on each machine
}

var _ proxy.Resolver = (*Router)(nil)

// NewRouter returns a router to the machines of f. addresses are their RPC addresses in
// the order of the fleet's nodes. Each machine's proxy is at the same host and the given
// port.
func NewRouter(f *Fleet, addresses []string, proxyPort string) (*Router, error) {
	r := &Router{fleet: f, proxies: map[shoal.Node]string{}}
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

// Resolve finds the machine of a running sandbox.
func (r *Router) Resolve(ctx context.Context, req proxy.Request) (proxy.Target, error) {
	node, sb, err := r.fleet.Locate(ctx, req.SandboxID)
	if err != nil {
		return proxy.Target{}, err
	}
	if err := req.Admit(sb.TeamID); err != nil {
		return proxy.Target{}, err
	}
	return proxy.Target{Node: r.proxies[node]}, nil
}

// ResolveSigned finds the sandbox whose token signed a file URL.
func (r *Router) ResolveSigned(ctx context.Context, method string, query url.Values) (string, error) {
	list, err := r.fleet.List(ctx)
	if err != nil {
		return "", err
	}
	return auth.FileOwner(list, method, query)
}
