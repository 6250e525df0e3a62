package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"shoal/internal/shares"
)

// accepted is one connection as the server has it, and its client's end.
func accepted(t *testing.T) (guest, client net.Conn) {
	t.Helper()
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := &shares.Listener{Listener: tcp, Shares: &shares.Shares[netip.Addr]{All: 1, Each: 1},
		Taker: func(c net.Conn) (netip.Addr, bool) { return addrPort(c.RemoteAddr()).Addr(), true }}
	defer listener.Close()
	if client, err = net.Dial("tcp4", tcp.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if guest, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); guest.Close() })
	return guest, client
}

// TestBodies: bodies of all lengths reach the server as they were, and what comes after them is
// read as a request again.
func TestBodies(t *testing.T) {
	big := bytes.Repeat([]byte("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n"), 100_000)
	for name, body := range map[string]string{
		"short":        "Content-Length: 3\r\n\r\nabc",
		"long":         fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(big), big),
		"just long":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", movedFrom, big[:movedFrom]),
		"short chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
		"long chunks": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\nA: b\r\n\r\n",
			len(big), big, len(big)/2, big[:len(big)/2]),
	} {
		for after, want := range map[string]error{
			"": nil,
			"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n":   nil,
			"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n": errOtherHost,
		} {
			t.Run(name+"/"+after, func(t *testing.T) { relaysBody(t, body, after, want) })
		}
	}
}

func relaysBody(t *testing.T, body, after string, want error) {
	guest, client := accepted(t)
	server, at := accepted(t)
	request := "PUT / HTTP/1.1\r\nHost: own.test\r\n" + body
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(client, request+after)
		sent <- errors.Join(err, closeWrite(client))
	}()
	passed := make(chan error, 1)
	go func() {
		r := requests{host: "own.test", guest: guest, server: server}
		passed <- errors.Join(r.pass(), closeWrite(server))
	}()
	got, err := io.ReadAll(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-passed; !errors.Is(err, want) {
		t.Errorf("the relay ends with %v, want %v", err, want)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	expected := request
	if want == nil {
		expected += after
	}
	if string(got) != expected {
		t.Errorf("the server gets %d bytes, want %d", len(got), len(expected))
	}
}

// TestBodyCut: a client that ends its side within a body leaves the server without the rest.
func TestBodyCut(t *testing.T) {
	guest, client := accepted(t)
	server, at := accepted(t)
	go func() { _, _ = io.Copy(io.Discard, at) }() // ends with the connection
	if _, err := fmt.Fprintf(client, "PUT / HTTP/1.1\r\nHost: own.test\r\nContent-Length: %d\r\n\r\nabc", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := closeWrite(client); err != nil {
		t.Fatal(err)
	}
	r := requests{host: "own.test", guest: guest, server: server}
	if err := r.pass(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the relay ends with %v", err)
	}
}
