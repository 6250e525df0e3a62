package shares

import (
	"net"
	"net/netip"
	"sync"
)

// Listener accepts TCP connections within bounds, each of which is a share until it is
// closed. One that is too many is reset at once, which tells its sender and leaves nothing
// here; if it were not accepted, everybody would wait.
type Listener struct {
	net.Listener // of TCP
	Shares       *Shares[netip.Addr]
	// Taker says whose share a connection is, and false for one that is not for us.
	Taker func(net.Conn) (netip.Addr, bool)
	// MakeRoom closes one connection, of the taker's own if that is the bound, so that another
	// one of the taker's has a place. It returns false if there is none to close. It may be nil.
	MakeRoom func(taker netip.Addr, own bool) bool
}

var _ net.Listener = (*Listener)(nil)

// Accept returns the next connection within the bounds.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := accepted.(*net.TCPConn)
		if taker, ok := l.Taker(c); ok && l.take(taker) {
			return &conn{TCPConn: c, release: func() { l.Shares.Give(taker, 1) }}, nil
		}
		_ = c.SetLinger(0)
		c.Close()
	}
}

func (l *Listener) take(taker netip.Addr) bool {
	for !l.Shares.Take(taker, 1) {
		own, _ := l.Shares.Full(taker, 1)
		if l.MakeRoom == nil || !l.MakeRoom(taker, own) {
			return false
		}
	}
	return true
}

// conn gives its share back when it is closed. It has all methods of a TCP connection, by
// which files are moved in the host's kernel.
type conn struct {
	*net.TCPConn
	release func()
	closing sync.Once
}

// NetConn is the connection itself, which the host's kernel also moves a part of bytes from.
func (c *conn) NetConn() net.Conn { return c.TCPConn }

// Close implements net.Conn.
func (c *conn) Close() error {
	c.closing.Do(c.release)
	return c.TCPConn.Close()
}
