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
		if taker, ok := l.Taker(c); ok && l.Shares.Take(taker, 1) {
			return &conn{TCPConn: c, release: func() { l.Shares.Give(taker, 1) }}, nil
		}
		_ = c.SetLinger(0)
		c.Close()
	}
}

// conn gives its share back when it is closed. It has all methods of a TCP connection, by
// which files are moved in the host's kernel.
type conn struct {
	*net.TCPConn
	release func()
	closing sync.Once
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.closing.Do(c.release)
	return c.TCPConn.Close()
}
