package outbound

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

const (
	// maxNames is how many names are kept, the last that were used.
	maxNames = 4096
	// leastDial is what a dialer gives each address of a name, if there are many.
	leastDial = 2 * time.Second
)

// names keeps the IPv4 addresses of names for a short time, so that a client which opens one
// connection after the other does not wait for a lookup each time. It is safe for concurrent use.
type names struct {
	resolver *net.Resolver
	keep     time.Duration
	timeout  time.Duration // of a lookup
	found    *lru.Cache[string, found]
	asking   singleflight.Group // by name
}

type found struct {
	addrs []netip.Addr
	at    time.Time
}

func newNames(resolver *net.Resolver, keep, timeout time.Duration) (*names, error) {
	kept, err := lru.New[string, found](maxNames)
	return &names{resolver: cmp.Or(resolver, net.DefaultResolver), keep: keep, timeout: timeout, found: kept}, err
}

// kept returns the addresses of a name that are young enough.
func (n *names) kept(name string) ([]netip.Addr, bool) {
	f, ok := n.found.Get(name)
	return f.addrs, ok && time.Since(f.at) < n.keep
}

// lookup returns the addresses of a name, of which there is one at least, and whether they were kept.
func (n *names) lookup(ctx context.Context, name string) (addrs []netip.Addr, kept bool, err error) {
	if addrs, ok := n.kept(name); ok {
		return addrs, true, nil
	}
	// The first that asks may go away; the others still wait.
	result := n.asking.DoChan(name, func() (any, error) {
		if addrs, ok := n.kept(name); ok {
			return addrs, nil // another has asked since
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.timeout)
		defer cancel()
		at := time.Now()
		addrs, err := n.resolver.LookupNetIP(ctx, "ip4", name)
		if err != nil {
			return nil, err
		}
		for i, a := range addrs {
			addrs[i] = a.Unmap()
		}
		n.found.Add(name, found{addrs, at})
		return addrs, nil
	})
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case r := <-result:
		if r.Err != nil {
			return nil, false, r.Err
		}
		return r.Val.([]netip.Addr), false, nil
	}
}

// dial connects to one of the name's addresses with connect. If none of those that were kept answers,
// they are looked up once more.
func (n *names) dial(ctx context.Context, name string, connect func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	for {
		addrs, kept, err := n.lookup(ctx, name)
		if err != nil {
			return nil, err
		}
		var errs error
		for i, a := range addrs {
			c, err := connectInPart(ctx, len(addrs)-i, a, connect)
			if err == nil {
				return c, nil
			}
			errs = errors.Join(errs, err)
		}
		n.found.Remove(name)
		if !kept || ctx.Err() != nil {
			return nil, errs
		}
	}
}

// connectInPart bounds the time for one of so many addresses, so that all are tried.
func connectInPart(ctx context.Context, left int, a netip.Addr, connect func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	deadline, ok := ctx.Deadline()
	if ok && left > 1 {
		bounded, cancel := context.WithTimeout(ctx, max(leastDial, time.Until(deadline)/time.Duration(left)))
		defer cancel()
		ctx = bounded
	}
	return connect(ctx, a)
}
