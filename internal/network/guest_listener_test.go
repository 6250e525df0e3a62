package network

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// loopback makes 127.0.0.1 a guest that comes by its link.
func loopback() plan {
	return plan{host: netip.MustParsePrefix("127.0.0.0/8"), veth: netip.MustParsePrefix("127.0.0.0/8")}
}

// accepting returns the address of a listener whose connections go to accepted.
func accepting(t *testing.T, plan plan, bounds *guestShares, life time.Duration) (string, <-chan net.Conn) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := guestsOnly(tcp, plan, bounds, life)
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	return l.Addr().String(), accepted
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ends reports whether the other end closes a connection in time.
func ends(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(arrivalTime))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// turnedAway reports whether a connection is reset, which the caller of connect may see.
func turnedAway(t *testing.T, address string) bool {
	t.Helper()
	c, err := net.Dial("tcp4", address)
	if err != nil {
		return errors.Is(err, unix.ECONNRESET)
	}
	defer c.Close()
	return ends(c)
}

// TestListenerTakesGuestsOnly: a connection from another source than a guest, or to another
// address than a link's, is closed at once.
func TestListenerTakesGuestsOnly(t *testing.T) {
	elsewhere := netip.MustParsePrefix("10.71.0.0/16")
	for name, p := range map[string]plan{
		"no guest":           {host: elsewhere, veth: loopback().veth},
		"the host's address": {host: loopback().host, veth: elsewhere},
	} {
		address, accepted := accepting(t, p, &guestShares{All: 4, Each: 4, Scarce: 4}, 0)
		if !turnedAway(t, address) || len(accepted) > 0 {
			t.Errorf("%s: the connection is accepted", name)
		}
	}
}

func TestListenerIsBounded(t *testing.T) {
	address, accepted := accepting(t, loopback(), &guestShares{All: 8, Each: 2, Scarce: 1}, 0)
	dial(t, address)
	dial(t, address)
	first := <-accepted
	<-accepted
	if !turnedAway(t, address) {
		t.Error("a connection beyond the bound stays open")
	}
	first.Close()
	first.Close() // a second time counts for nothing
	dial(t, address)
	<-accepted
	if !turnedAway(t, address) {
		t.Error("a connection closed twice counts twice")
	}
}

// TestConnectionsEndInTime: whatever deadlines its user sets, a connection ends.
func TestConnectionsEndInTime(t *testing.T) {
	address, accepted := accepting(t, loopback(), &guestShares{All: 1, Each: 1, Scarce: 1}, 50*time.Millisecond)
	dial(t, address)
	c := <-accepted
	if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(began) > arrivalTime {
		t.Errorf("read: %v after %s", err, time.Since(began))
	}
}
