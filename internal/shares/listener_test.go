package shares

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestBoundedListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Listener: inner, Shares: &Shares[netip.Addr]{All: 3, Each: 2},
		Taker: func(c net.Conn) (netip.Addr, bool) {
			return c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), true
		}}
	defer l.Close()
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", inner.Addr().String())
		if errors.Is(err, unix.ECONNRESET) {
			return nil // it was closed before it was seen to be made
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	isClosed := func(conn net.Conn) bool {
		if conn == nil {
			return true
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET)
	}

	dial("127.0.0.2")
	dial("127.0.0.2")
	if !isClosed(dial("127.0.0.2")) {
		t.Error("a source has more connections than its bound")
	}
	dial("127.0.0.3")
	if !isClosed(dial("127.0.0.4")) {
		t.Error("there are more connections than the bound in sum")
	}
	first := <-accepted
	if _, ok := first.(io.ReaderFrom); !ok {
		t.Error("files cannot be moved to the connection in the host's kernel")
	}
	first.Close()
	first.Close() // must count once
	if dial("127.0.0.4") == nil {
		t.Error("a place that was given back is not given")
	}
	for range 3 {
		select {
		case conn := <-accepted:
			defer conn.Close()
		case <-time.After(10 * time.Second):
			t.Fatal("a place that was given back is not taken")
		}
	}
	l.Shares.mu.Lock()
	defer l.Shares.mu.Unlock()
	if l.Shares.total != 3 || l.Shares.held[netip.MustParseAddr("127.0.0.4")] != 1 {
		t.Errorf("%d open, by source %v", l.Shares.total, l.Shares.held)
	}
}
