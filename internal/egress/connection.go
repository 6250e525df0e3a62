package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"shoal/internal/egress/greeting"
	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

const (
	portHTTP = 80
	portTLS  = 443
	// greetingTime bounds the wait for a client's greeting. Browsers open connections ahead, and
	// open others if those are closed.
	greetingTime = 30 * time.Second
	// dialTime bounds the time to a connection with the server, names and proxies included.
	dialTime = 30 * time.Second
)

// connection is one of a sandbox. What settle sets is guarded by Server.mu; only the goroutine
// that serves it reads it without.
type connection struct {
	guest *metered
	from  netip.Addr     // the sandbox's
	to    netip.AddrPort // what the guest has dialed

	settled bool
	policy  *Policy
	name    string // empty if the client named no server that can be relied on
	outer   string // the name in the clear of a connection that is denied for the one it may hide
	verdict verdict
	domain  string // of the transform for the name; empty if there is none
	rule    shoal.Transform

	server atomic.Pointer[net.Conn]
	ended  atomic.Bool
}

// greetings is what a client said first.
type greetings struct {
	name string
	// hidden means that the server may see another name than this one.
	hidden bool
	tls    bool
	bytes  []byte // that were read
}

// settle decides by a policy.
func (c *connection) settle(p *Policy, said greetings) {
	c.settled, c.policy, c.name = true, p, said.name
	if said.tls {
		c.domain, c.rule, _ = intercept.Match(p.Transforms, said.name)
	}
	// A transform ends TLS here, and so sees the name that the server will.
	if said.hidden && c.domain == "" {
		c.name = ""
	}
	c.verdict = p.decide(c.name, c.to.Addr())
	if c.verdict == denied && said.hidden && p.decide(said.name, c.to.Addr()) != denied {
		c.outer = said.name
	}
}

// refusal is the outcome of a connection that is denied.
func (c *connection) refusal() shoal.EgressOutcome {
	if c.outer != "" {
		return shoal.EgressEncrypted
	}
	return shoal.EgressDenied
}

// end closes both ends from another goroutine.
func (c *connection) end() {
	c.ended.Store(true)
	abort(c.guest)
	if server := c.server.Load(); server != nil {
		abort(*server)
	}
}

// attach makes the server's end known to end.
func (c *connection) attach(server net.Conn) {
	c.server.Store(&server)
	if c.ended.Load() {
		abort(server)
	}
}

// abort resets a connection, so that nobody takes what came for all there is.
func abort(c net.Conn) {
	if l, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	c.Close()
}

// serve takes a connection from its start to its end.
func (s *Server) serve(ctx context.Context, accepted net.Conn) {
	guest := &metered{tcp: accepted.(tcp), totals: &s.totals}
	defer guest.Close()
	c := &connection{guest: guest, from: addrPort(guest.RemoteAddr()).Addr()}
	var err error
	if c.to, err = originalDestination(guest); err != nil || c.to == addrPort(guest.LocalAddr()) || !s.enter(c) {
		abort(guest)
		return
	}
	defer s.leave(c)
	said, err := listen(guest, c.to.Port())
	if err != nil {
		s.totals.add(familyConnections, outcomeSilent, 1)
		abort(guest)
		return
	}
	if !s.settle(c, said) {
		if c.settled {
			o := c.refusal()
			s.records.add(c, o)
			s.totals.add(familyConnections, string(o), 1)
		}
		abort(guest)
		return
	}
	err = s.connect(ctx, c, said)
	switch {
	case errors.Is(err, errNotConnected):
		abort(guest)
	case err != nil:
		s.log.Debug("a connection broke off", "sandbox", c.policy.SandboxID, "error", err)
	}
}

// listen reads a client's greeting, on the ports whose clients speak first. On others nothing is
// read, so that servers may speak first.
func listen(guest net.Conn, port uint16) (greetings, error) {
	if port != portHTTP && port != portTLS {
		return greetings{}, nil
	}
	if err := guest.SetReadDeadline(time.Now().Add(greetingTime)); err != nil {
		return greetings{}, err
	}
	said := greetings{bytes: make([]byte, 0, 4<<10)}
	for {
		if len(said.bytes) == cap(said.bytes) {
			said.bytes = append(said.bytes, 0)[:len(said.bytes)]
		}
		n, err := guest.Read(said.bytes[len(said.bytes):cap(said.bytes)])
		said.bytes = said.bytes[:len(said.bytes)+n]
		more := said.parse(port)
		var timeout net.Error
		switch {
		case !more, errors.Is(err, io.EOF), errors.As(err, &timeout) && timeout.Timeout():
			return said, guest.SetReadDeadline(time.Time{})
		case err != nil:
			return said, err
		}
	}
}

// parse reads the name out of what was said so far, and tells whether more may have one.
func (g *greetings) parse(port uint16) (more bool) {
	if port == portHTTP {
		head, err := greeting.ParseHead(g.bytes)
		g.name = head.Host
		return errors.Is(err, greeting.ErrMore)
	}
	hello, err := greeting.ParseHello(g.bytes)
	g.name, g.hidden, g.tls = hello.ServerName, hello.Encrypted, err == nil
	return errors.Is(err, greeting.ErrMore) && len(g.bytes) < 2*greeting.MaxHello
}

// errNotConnected means that there is no server at the other end.
var errNotConnected = errors.New("the server is not reached")

// connect opens the other end and relays.
func (s *Server) connect(ctx context.Context, c *connection, said greetings) error {
	if c.domain != "" {
		return s.transform(ctx, c, said)
	}
	server, err := s.reach(ctx, c)
	if err != nil {
		return err
	}
	defer server.Close()
	if c.verdict == allowedName && c.to.Port() == portHTTP {
		return relayRequests(c, server, said.bytes)
	}
	return relay(c.guest, server, said.bytes)
}

// reach dials, and records how that went.
func (s *Server) reach(ctx context.Context, c *connection) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	server, err := s.dialer.dial(ctx, c)
	s.count(c, err)
	if err == nil {
		c.attach(server)
		return server, nil
	}
	s.log.Debug("a server is not reached", "sandbox", c.policy.SandboxID, "name", c.name, "address", c.to, "error", err)
	return nil, errors.Join(errNotConnected, err)
}

func outcomeOf(err error) shoal.EgressOutcome {
	switch {
	case err == nil:
		return shoal.EgressAllowed
	case shoal.ErrOutboundRefused.Matches(err):
		return shoal.EgressDenied
	}
	return shoal.EgressFailed
}
