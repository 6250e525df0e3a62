// Package intercept transforms the requests of a sandbox to listed domains on their way: TLS is
// ended towards the guest, with a certificate of the sandbox's own authority, and begun again
// towards the server, whose certificate is verified. Headers are set, and what they have
// placeholders for is filled in here and nowhere nearer to the guest.
//
// It speaks HTTP/1.1 or HTTP/2, whichever the guest and the server have in common, and passes on
// the rest as it was: WebSockets, gRPC, streams, trailers, interim answers. A connection is for the
// one name that its TLS asked for; a request for another is refused, and has none of the values.
package intercept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// handshakeTime bounds each of the two handshakes of a connection.
const handshakeTime = 30 * time.Second

// The protocols that are spoken, by their names in ALPN.
const (
	protocolHTTP1 = "http/1.1"
	protocolHTTP2 = "h2"
)

// Filler gives the values of placeholders. They are not logged, and kept for less than a minute.
type Filler interface {
	// Fill returns a value for each of the wanted placeholders of the domain's transform. The
	// message of a *shoal.Error is shown to the guest.
	Fill(ctx context.Context, sandboxID, domain string, wanted []shoal.Placeholder) (
		map[shoal.Placeholder]string, error)
}

// Dial opens a TCP connection to the server that a guest asked for, by its name and under the
// sandbox's policy. Each connection may need several, one after another.
type Dial func(ctx context.Context) (net.Conn, error)

// Connection is one connection of a guest that is to be transformed.
type Connection struct {
	SandboxID  string
	ServerName string // that the guest's TLS asked for
	Domain     string // by which the transform is listed; see Match
	Port       uint16
	Transform  shoal.Transform
	Authority  *Authority
	Dial       Dial
	// Filled, if it is set, is told of each request whose headers were to get values.
	Filled func(error)
}

// Interceptor transforms connections. It has no goroutines beyond those of its connections.
type Interceptor struct {
	fills *fills
	roots *x509.CertPool
	cut   *log.Logger // is told of connections and streams that one side has cut
	now   func() time.Time
	// Copies of bodies are made by way of these.
	buffers bufferPool
}

// New returns an interceptor. Servers are verified against roots; nil stands for the system's.
func New(filler Filler, roots *x509.CertPool, logger *slog.Logger) *Interceptor {
	return &Interceptor{fills: newFills(filler), roots: roots, now: time.Now,
		cut: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
}

// Serve serves a connection until both sides are done with it, or ctx ends, and closes it. guest
// yields all bytes from the first one of TLS. The error is the first thing that went wrong: a
// *shoal.Error of one of the ErrTransform kinds, which may be recorded for the tenant to read;
// or what else ended the connection.
func (i *Interceptor) Serve(ctx context.Context, guest net.Conn, c Connection) error {
	defer guest.Close()
	c.ServerName = canonical(c.ServerName)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { guest.Close() })()

	s := &session{Interceptor: i, Connection: c, ctx: ctx}
	defer s.close()
	shaken, err := s.handshake(ctx, guest)
	if err != nil {
		return err
	}
	return s.serve(shaken)
}

// session is a connection that is being served.
type session struct {
	*Interceptor
	Connection
	ctx context.Context // the connection's life

	server   *upstream // set by the handshake
	half     *halfOpen // nil under HTTP/2
	requests underway

	mu     sync.Mutex
	failed error // the first failure
}

// fail notes a failure.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

func (s *session) firstFailure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *session) close() {
	if s.server != nil {
		s.server.close()
	}
}

// handshake ends the guest's TLS. It first speaks to the server, so that the guest is offered
// the protocol that the server has chosen. A server that cannot be reached ends the connection
// as it would without a transform; one that is not who it should be is told of in an answer.
func (s *session) handshake(ctx context.Context, guest net.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*handshakeTime)
	defer cancel()
	var before error // what went wrong before the guest was answered
	shaken := tls.Server(guest, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (answer *tls.Config, err error) {
			answer, err = s.answerHello(ctx, hello)
			before = err
			return answer, err
		},
	})
	err := shaken.HandshakeContext(ctx)
	switch {
	case err == nil:
		return shaken, nil
	case before != nil:
		return nil, before
	default:
		return nil, guestFailure(err)
	}
}

// answerHello returns how the guest is answered.
func (s *session) answerHello(ctx context.Context, hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if canonical(hello.ServerName) != s.ServerName {
		return nil, shoal.ErrTransformMisdirected.New("The connection asks for another server than it did")
	}
	offered := []string{protocolHTTP1}
	if len(hello.SupportedProtos) > 0 {
		offered = slices.DeleteFunc(slices.Clone(hello.SupportedProtos), func(p string) bool {
			return p != protocolHTTP1 && p != protocolHTTP2
		})
		if len(offered) == 0 {
			return nil, shoal.ErrTransformProtocol.New("The connection to %s offers no version of HTTP", s.ServerName)
		}
	}
	leaf, err := s.Authority.vouch(s.ServerName, s.now())
	if err != nil {
		return nil, err
	}
	s.server, err = newUpstream(ctx, s, offered)
	if err != nil {
		return nil, err
	}
	answer := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*leaf},
		SessionTicketsDisabled: true}
	if len(hello.SupportedProtos) > 0 && s.server.protocol != "" {
		answer.NextProtos = []string{s.server.protocol}
	}
	return answer, nil
}
