package port

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 20 * time.Second

// outside stands for the guest's external address: it is no address that the
// forwarder looks at, and it needs no interface.
var outside = net.IPv4(127, 0, 0, 2)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func runForwarder(t *testing.T) {
	t.Helper()
	f := New(slog.New(slog.DiscardHandler))
	f.address = func() (net.IP, error) { return outside, nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the forwarder does not end")
		}
	})
}

// server echoes, with its address before each client's text.
func server(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("cannot listen here: ", err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = fmt.Fprint(c, address, " ")
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln
}

func fromOutside(ln net.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(outside.String(), port)
}

func ask(ln net.Listener, text string) (string, error) {
	c, err := net.DialTimeout("tcp", fromOutside(ln), patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	data, err := io.ReadAll(c)
	return string(data), err
}

func TestForwarding(t *testing.T) {
	runForwarder(t)
	large := strings.Repeat("0123456789", 100_000)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln := server(t, address)
		eventually(t, address+" becomes reachable", func() bool {
			got, err := ask(ln, large)
			return err == nil && got == address+" "+large
		})
		_ = ln.Close()
		eventually(t, address+" stops being reachable", func() bool {
			_, err := ask(ln, "x")
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
}

// A connection in use survives its listener, as it would without the relay.
func TestConnectionOutlivesListener(t *testing.T) {
	runForwarder(t)
	ln := server(t, "127.0.0.1:0")
	var c net.Conn
	eventually(t, "the port becomes reachable", func() bool {
		var err error
		c, err = net.Dial("tcp", fromOutside(ln))
		return err == nil
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	greeting := make([]byte, len("127.0.0.1:0 "))
	if _, err := io.ReadFull(c, greeting); err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	eventually(t, "the relay closes", func() bool {
		_, err := ask(ln, "x")
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	answer := make([]byte, 4)
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "ping" {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestParseSocketTable(t *testing.T) {
	tables := newTables()
	for _, c := range []struct {
		table int
		line  string
		port  uint16
	}{
		{0, "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100", 8080},
		{0, "   1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100", 0},
		{0, "   2: 00000000:1F90 00000000:0000 0A 00000000:00000000", 0},
		{0, "   3: 0200007F:1F90 00000000:0000 0A 00000000:00000000", 0},
		{0, "  sl  local_address rem_address   st tx_queue", 0},
		{0, "", 0},
		{0, "   0: 0100007F:XYZ 00000000:0000 0A", 0},
		{0, "   0: 0100007F:1F90", 0},
		{1, "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0", 80},
		{1, "   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0", 0},
	} {
		port, ok := tables[c.table].parse([]byte(c.line))
		if port != c.port || ok != (c.port != 0) {
			t.Errorf("%q: %d, %v", c.line, port, ok)
		}
	}
}
