package egress

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"sync"

	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

// sameTransform tells whether a domain's transform is the same in both lists.
func sameTransform(a, b map[string]shoal.Transform, domain string) bool {
	have, ok := a[domain]
	return ok && maps.Equal(have.Headers, b[domain].Headers)
}

// readAuthority makes a policy's authority ready, that of the policy before if it is the same:
// it has certificates that were issued already.
func (p *Policy) readAuthority(before *Policy) (err error) {
	switch {
	case len(p.Authority) == 0:
		return nil
	case before != nil && before.authority != nil && bytes.Equal(before.Authority, p.Authority):
		p.authority = before.authority
		return nil
	}
	p.authority, err = intercept.ParseAuthority(p.Authority)
	return err
}

// transform ends TLS here and begins it again towards the server. The server is the one that was
// decided about: by its name if that is allowed, or else at the address that the guest has dialed,
// which must have a certificate for the name.
func (s *Server) transform(ctx context.Context, c *connection, said greetings) error {
	if c.policy.authority == nil {
		s.count(c, errNotConnected)
		return errNotConnected
	}
	var once sync.Once
	dial := func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		server, err := s.dialer.dial(ctx, c)
		once.Do(func() { s.count(c, err) })
		return server, err
	}
	err := s.interceptor.Serve(ctx, &heard{Conn: c.guest, first: said.bytes}, intercept.Connection{
		SandboxID: c.policy.SandboxID, ServerName: c.name, Domain: c.domain, Port: c.to.Port(), Transform: c.rule,
		Authority: c.policy.authority, Dial: dial,
		Filled: s.countFill})
	s.countRefusal(err)
	return err
}

// heard is a guest's connection of which the first bytes were read.
type heard struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (h *heard) Read(p []byte) (int, error) {
	if len(h.first) > 0 {
		n := copy(p, h.first)
		h.first = h.first[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

// CloseWrite ends what is sent to the guest.
func (h *heard) CloseWrite() error { return closeWrite(h.Conn) }

// unfilled is for processes that nobody answers about values.
type unfilled struct{}

var _ intercept.Filler = unfilled{}

// Fill implements intercept.Filler.
func (unfilled) Fill(context.Context, string, string, []shoal.Placeholder) (map[shoal.Placeholder]string, error) {
	return nil, errors.New("nobody knows the values of placeholders")
}
