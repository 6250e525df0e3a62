package network

import (
	"net"
	"net/netip"
	"time"

	"shoal/internal/shares"
)

// guestListener accepts TCP connections of guests only, within bounds, for services that
// the host's rules redirect guests to. The rules see to that too, but another program may
// have flushed them.
type guestListener struct {
	shares.Listener
	// life bounds the age of a connection, whatever its user does; 0 is no bound.
	life time.Duration
}

// guestShares divides something among guests.
type guestShares = shares.Shares[netip.Addr]

// guestsOnly takes connections from a TCP listener. A redirected connection arrives at the
// address of the slot's link, which the kernel chooses, so the listener has all addresses.
func guestsOnly(listener net.Listener, plan plan, bounds *guestShares, life time.Duration) *guestListener {
	return &guestListener{shares.Listener{Listener: listener, Shares: bounds, Taker: plan.guestOf}, life}
}

func (l *guestListener) port() uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// Accept returns the next connection of a guest and resets those of others.
func (l *guestListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || l.life == 0 {
		return c, err
	}
	own := &mortalConn{Conn: c, end: time.Now().Add(l.life)}
	_ = c.SetDeadline(own.end)
	return own, nil
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

// mortalConn is a connection that ends in time.
type mortalConn struct {
	net.Conn
	end time.Time
}

// SetReadDeadline moves the deadline of reads, but not beyond the connection's end.
func (c *mortalConn) SetReadDeadline(t time.Time) error {
	if t.After(c.end) {
		t = c.end
	}
	return c.Conn.SetReadDeadline(t)
}
