package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
)

// serve answers the requests of a connection whose handshake is over, until it ends.
func (s *session) serve(shaken *tls.Conn) error {
	line := &line{conn: newTrailerConn(shaken, shaken), over: make(chan struct{})}
	if shaken.ConnectionState().NegotiatedProtocol != protocolHTTP2 {
		s.half = newHalfOpen(shaken)
		line.conn = s.half
	}
	var protocols http.Protocols
	protocols.SetHTTP1(s.half != nil)
	protocols.SetUnencryptedHTTP2(s.half == nil) // TLS has been ended here
	server := &http.Server{
		Handler:     http.HandlerFunc(s.answer),
		Protocols:   &protocols,
		IdleTimeout: idleTime, ReadHeaderTimeout: idleTime, MaxHeaderBytes: maxHead,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window},
		// OPTIONS * is the server's to answer.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ErrorLog:                     s.cut,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				line.end()
			}
		},
	}
	if err := server.Serve(line); !errors.Is(err, errServed) {
		s.fail(err)
	}
	// Of a connection that has ended, or that a handler has taken over.
	s.requests.end()
	return s.firstFailure()
}

// line is a listener with one connection. It stays open for as long as the server has that.
type line struct {
	conn  net.Conn
	taken bool // by the server's only goroutine that accepts
	over  chan struct{}
	once  sync.Once
}

var _ net.Listener = (*line)(nil)

// errServed is how a line ends.
var errServed = errors.New("the connection has been served")

// Accept implements net.Listener.
func (l *line) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return l.conn, nil
	}
	<-l.over
	return nil, errServed
}

func (l *line) end() { l.once.Do(func() { close(l.over) }) }

// Close implements net.Listener.
func (l *line) Close() error {
	l.end()
	return nil
}

// Addr implements net.Listener.
func (l *line) Addr() net.Addr { return l.conn.LocalAddr() }

// underway counts the requests of a connection. The zero value has none.
type underway struct {
	mu    sync.Mutex
	count int
	ended bool
	none  sync.Cond // of mu; is made by end
}

// begin counts a request, unless the connection has ended.
func (u *underway) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return false
	}
	u.count++
	return true
}

func (u *underway) done() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count--
	if u.ended && u.count == 0 {
		u.none.Broadcast()
	}
}

// end waits for all requests, and lets no more begin.
func (u *underway) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ended, u.none.L = true, &u.mu
	for u.count > 0 {
		u.none.Wait()
	}
}
