package client

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"shoal/internal/envdapi"
)

// What a guest may answer. Its daemon may be anybody's program, so nothing that it says
// chooses where the host connects to, or how much the host reads and keeps.
const (
	// dialTimeout bounds how long a connection to a guest may take to be made.
	dialTimeout = 5 * time.Second
	// headTimeout bounds the wait for an answer's head after the request was sent. A guest
	// that gets little of a busy processor needs many seconds.
	headTimeout = time.Minute
	// bodyTimeout bounds how long the body of an answer other than a stream may take. The
	// callers' contexts bound streams, which last as long as the commands they are about.
	bodyTimeout = 10 * time.Second
	// maxHead bounds the head of an answer, in bytes.
	maxHead = 64 << 10
	// maxAnswer bounds the body of an answer other than a stream, in bytes.
	maxAnswer = 64 << 10
	// maxMessage bounds one message of a stream, in bytes. The daemon sends pieces of 32 KiB.
	maxMessage = 1 << 20
	// maxMessages bounds the messages of one stream.
	maxMessages = 16 << 20
	// maxStream bounds one stream, in bytes: what a command prints, in its messages.
	maxStream = 1 << 30
	// maxDrain is the most that is read for the sake of a connection that is kept, in bytes,
	// and drainTimeout the longest that is waited for it.
	maxDrain     = 4 << 10
	drainTimeout = time.Second
)

// guarded is the transport of every call to one guest. It dials the guest's address whatever
// a URL says, uses no proxy, and holds answers to the bounds above; what it refuses is an
// *AnswerError. A redirect is refused here, before anybody could follow it.
type guarded struct {
	http     http.Transport
	dialer   net.Dialer
	address  string        // of the guest's daemon
	bodyTime time.Duration // bodyTimeout
}

var _ http.RoundTripper = (*guarded)(nil)

func newTransport(host string) *guarded {
	g := &guarded{dialer: net.Dialer{Timeout: dialTimeout}, bodyTime: bodyTimeout,
		address: net.JoinHostPort(host, strconv.Itoa(envdapi.Port))}
	g.http = http.Transport{DialContext: g.dial, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxHead, ResponseHeaderTimeout: headTimeout}
	return g
}

// keepAlive is the option KeepAlive.
func (g *guarded) keepAlive() {
	g.http.DisableKeepAlives = false
	g.dialer.KeepAlive = -1 // the guest may be frozen meanwhile, and would not answer probes
}

// dial connects to the guest, whichever address is asked for.
func (g *guarded) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return g.dialer.DialContext(ctx, "tcp", g.address)
}

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.http.RoundTrip(req)
	if err != nil {
		return nil, shortened(err)
	}
	stream := strings.HasPrefix(req.Header.Get("Content-Type"), "application/connect+")
	if err := checkHead(resp, stream); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	b := &body{ReadCloser: resp.Body, keep: !g.http.DisableKeepAlives}
	if stream {
		b.check = new(frames).check
	} else {
		b.check = new(size).check
		b.bound(g.bodyTime)
	}
	resp.Body = b
	return resp, nil
}

// CloseIdleConnections is called by http.Client's method of this name.
func (g *guarded) CloseIdleConnections() { g.http.CloseIdleConnections() }

// checkHead refuses what no daemon of ours begins an answer with.
func checkHead(resp *http.Response, stream bool) error {
	encoding := resp.Header.Get("Content-Encoding")
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return refuse("a redirect (status %d)", resp.StatusCode)
	case resp.StatusCode < 200:
		return refuse("status %d", resp.StatusCode)
	case encoding != "" && encoding != "identity":
		return refuse("a compressed body")
	case !stream && resp.ContentLength > maxAnswer:
		return refuse("a body of %d bytes, more than %d", resp.ContentLength, maxAnswer)
	}
	return nil
}
