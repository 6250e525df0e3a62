package network

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// guestListener accepts TCP connections of guests only, within bounds, for services that
// the host's rules redirect guests to. The rules see to that too, but another program may
// have flushed them.
type guestListener struct {
	net.Listener
	plan   plan
	shares *shares
	// life bounds the age of a connection, whatever its user does; 0 is no bound.
	life time.Duration
}

// listenTCP listens at a port, 0 for any. A redirected connection arrives at the address of
// the slot's link, which the kernel chooses, so the listener has all addresses.
func listenTCP(address string, plan plan, shares *shares, life time.Duration) (*guestListener, error) {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, err
	}
	return &guestListener{listener, plan, shares, life}, nil
}

func (l *guestListener) port() uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// Accept returns the next connection of a guest and resets those of others.
func (l *guestListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		guest, ok := l.plan.guestOf(c)
		if !ok || !l.shares.take(guest) {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset tells at once, and leaves nothing here
			c.Close()
			continue
		}
		own := &guestConn{Conn: c, release: func() { l.shares.give(guest) }}
		if l.life > 0 {
			own.end = time.Now().Add(l.life)
			_ = c.SetDeadline(own.end)
		}
		return own, nil
	}
}

// guestOf returns the address of the guest that opened a connection. It came by the guest's
// link if it arrived at the link's address.
func (p plan) guestOf(c net.Conn) (netip.Addr, bool) {
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String())
	local, localErr := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil || localErr != nil {
		return netip.Addr{}, false
	}
	guest := remote.Addr().Unmap()
	return guest, p.host.Contains(guest) && p.veth.Contains(local.Addr().Unmap())
}

type guestConn struct {
	net.Conn
	end     time.Time // zero for none
	release func()
	closing sync.Once
}

// SetReadDeadline moves the deadline of reads, but not beyond the connection's end.
func (c *guestConn) SetReadDeadline(t time.Time) error {
	if !c.end.IsZero() && t.After(c.end) {
		t = c.end
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *guestConn) Close() error {
	c.closing.Do(c.release)
	return c.Conn.Close()
}
