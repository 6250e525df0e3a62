package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

const (
	// continueTime is how long a body waits for the server's word that it wants it, if the client
	// has asked for that. Many servers never say it.
	continueTime = time.Second
	// idleTime is how long a connection without a request is kept, on either side.
	idleTime = 5 * time.Minute
	// maxHead bounds the head of a request or an answer, in bytes.
	maxHead = 1 << 20
	// copyBuffer is how much of a body is read or written at once, in bytes.
	copyBuffer = 64 << 10
	// window is how much of an HTTP/2 body may be on its way, in bytes.
	window = 4 << 20
)

// upstream is the way to the server of a connection. The first TLS connection is there when it
// is made; further ones are opened when that has ended.
type upstream struct {
	protocol  string          // that the server has chosen; "" is HTTP/1.1 of a server without ALPN
	transport *http.Transport // nil if the server's certificate could not be verified
	session   *session
	offered   []string

	mu     sync.Mutex
	first  *tls.Conn        // until it is used
	open   map[*opened]bool // all connections, used or not
	closed bool
}

// opened is a connection below TLS that its upstream knows until it is closed.
type opened struct {
	net.Conn
	of *upstream
}

// Close implements net.Conn.
func (o *opened) Close() error {
	o.of.mu.Lock()
	delete(o.of.open, o)
	o.of.mu.Unlock()
	return o.Conn.Close()
}

// dial opens a connection below TLS.
func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	raw, err := u.session.Dial(ctx)
	if err != nil {
		return nil, err
	}
	o := &opened{raw, u}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errors.Join(net.ErrClosed, raw.Close())
	}
	u.open[o] = true
	return o, nil
}

// newUpstream connects to the server.
func newUpstream(ctx context.Context, s *session, offered []string) (*upstream, error) {
	u := &upstream{session: s, offered: offered, open: map[*opened]bool{}}
	conn, err := u.connect(ctx)
	// The guest is told who the server turned out to be once its own handshake is over; there is
	// no better way to name the cause.
	switch {
	case shoal.ErrTransformCertificate.Matches(err):
		s.fail(err)
		u.protocol = offered[0]
		return u, nil
	case err != nil:
		return nil, err
	}
	u.first, u.protocol = conn, conn.ConnectionState().NegotiatedProtocol
	u.transport = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return u.next(ctx) },
		// As it was sent: the guest's client decides about compression.
		DisableCompression:     true,
		ForceAttemptHTTP2:      u.protocol == protocolHTTP2,
		ExpectContinueTimeout:  continueTime,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: maxHead,
		ReadBufferSize:         copyBuffer,
		WriteBufferSize:        copyBuffer,
	}
	return u, nil
}

// next returns the first connection, and new ones thereafter.
func (u *upstream) next(ctx context.Context) (net.Conn, error) {
	u.mu.Lock()
	conn := u.first
	u.first = nil
	u.mu.Unlock()
	if conn == nil {
		var err error
		if conn, err = u.connect(ctx); err != nil {
			return nil, err
		}
	}
	if conn.ConnectionState().NegotiatedProtocol == protocolHTTP2 {
		return conn, nil // by whose type the transport knows
	}
	return &serverConn{Conn: conn}, nil
}

// connect opens a connection and verifies the server.
func (u *upstream) connect(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	raw, err := u.dial(ctx)
	if err != nil {
		return nil, shoal.ErrTransformServer.Wrap(err, "%s cannot be reached", u.session.ServerName)
	}
	conn := tls.Client(raw, &tls.Config{ServerName: u.session.ServerName, RootCAs: u.session.roots,
		NextProtos: u.offered, MinVersion: tls.VersionTLS12})
	err = conn.HandshakeContext(ctx)
	if err == nil {
		return conn, nil
	}
	raw.Close()
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		return nil, certificateFailure(u.session.ServerName, unverified.Err)
	}
	return nil, shoal.ErrTransformServer.Wrap(fmt.Errorf("handshake: %w", err),
		"%s did not agree on an encrypted connection", u.session.ServerName)
}

// close ends all connections. No request uses one any more, but the transport may not have taken
// note of that yet.
func (u *upstream) close() {
	u.mu.Lock()
	first := u.first
	u.first, u.closed = nil, true
	u.mu.Unlock()
	if first != nil {
		first.Close()
	}
	if u.transport != nil {
		u.transport.CloseIdleConnections()
	}
	u.mu.Lock()
	left := slices.Collect(maps.Keys(u.open))
	u.mu.Unlock()
	for _, o := range left {
		o.Close()
	}
}
