package intercept

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// serverConn is an HTTP/1.1 connection to a server.
type serverConn struct {
	*tls.Conn
	current atomic.Pointer[exchange]
}

// Write implements net.Conn.
func (c *serverConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if x := c.current.Load(); x != nil && err == nil {
		x.written(p)
	}
	return n, err
}

// exchange is one request and its answer. It passes on that the client will send no more: what
// that means for the answer, servers see differently, so it is theirs to decide. Under HTTP/2 the
// request has an end of its own, and an exchange does nothing.
type exchange struct {
	length int64 // of the request's body; negative if it is not known ahead

	mu    sync.Mutex
	conn  *serverConn // nil until there is one
	ended bool        // the client has ended its side
	head  []byte      // of the request, as far as it is written; nil once it is
	left  int64       // of the body to be written, if its length is known
	whole bool        // the transport's buffer has the rest, the last chunk at least
	wrote bool        // the server has the whole request
}

// watch has the exchange follow a request on its way to the server.
func (x *exchange) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.head, x.whole, x.wrote = []byte{}, false, false // an earlier try may have got somewhere
			if x.conn, _ = got.Conn.(*serverConn); x.conn != nil {
				x.conn.current.Store(x)
			}
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.whole = info.Err == nil
		},
	})
}

// written is called after each write.
func (x *exchange) written(p []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.head == nil {
		x.left -= int64(len(p))
	} else {
		x.head = append(x.head, p...)
		at := bytes.Index(x.head, endOfHead)
		if at < 0 {
			return
		}
		x.left, x.head = x.length-int64(len(x.head)-at-len(endOfHead)), nil
	}
	x.wrote = x.length >= 0 && x.left <= 0 || x.length < 0 && x.whole
	x.closeWrite()
}

var endOfHead = []byte("\r\n\r\n")

// end is called when the client has ended its side.
func (x *exchange) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ended = true
	x.closeWrite()
}

// closeWrite tells the server, once it has all; x.mu is held.
func (x *exchange) closeWrite() {
	if x.ended && x.wrote && x.conn != nil {
		_ = x.conn.CloseWrite() // a server that has gone needs not be told
	}
}

// stream gives the body of an answer that turns the connection into a stream a way to close the
// half towards the server, which the body of net/http lacks.
func (x *exchange) stream(answer *http.Response) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	both, ok := answer.Body.(io.ReadWriteCloser)
	if answer.StatusCode == http.StatusSwitchingProtocols && ok && x.conn != nil {
		x.conn.current.Store(nil)
		answer.Body = streamBody{both, x.conn.Conn}
	}
	return nil
}

type streamBody struct {
	io.ReadWriteCloser
	conn *tls.Conn
}

// CloseWrite tells the server that no more will come.
func (b streamBody) CloseWrite() error { return b.conn.CloseWrite() }
