// Package client is the node's side of the contract with the daemons of its guests: it sets
// a guest up, asks for its metrics, runs commands in it and sends files to it.
package client

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/gen/filesystem/filesystemconnect"
	"shoal/internal/envdapi/gen/process/processconnect"
)

// Client speaks to the daemon of one guest. It is cheap to make and may be used by
// several goroutines.
type Client struct {
	base  string
	token string // "" if the daemon asks for none
	http  *http.Client

	// Most clients make no RPC, so these are made when they are first used.
	process    func() processconnect.ProcessClient
	filesystem func() filesystemconnect.FilesystemClient
}

// Option changes how a Client speaks to its guest.
type Option func(*Client)

// KeepAlive keeps the connection between calls, which costs the guest a dozen system
// calls to make. Close must be called before the guest's address is another's.
func KeepAlive() Option {
	return func(c *Client) {
		// The guest may be frozen meanwhile, and would not answer probes.
		dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
		c.http = newHTTP(drained{newTransport(dialer)})
	}
}

// New returns a client for the guest that the node reaches at host. The token is that of
// the daemon, or "" while it has none.
func New(host, token string, opts ...Option) *Client {
	c := &Client{base: envdapi.URL(host), token: token, http: singleUse}
	for _, opt := range opts {
		opt(c)
	}
	c.process = sync.OnceValue(func() processconnect.ProcessClient {
		return processconnect.NewProcessClient(c.http, c.base, bounded)
	})
	c.filesystem = sync.OnceValue(func() filesystemconnect.FilesystemClient {
		return filesystemconnect.NewFilesystemClient(c.http, c.base, bounded)
	})
	return c
}

// Close ends the connection that KeepAlive kept. Calls under way are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dialTimeout bounds how long a connection to a guest may take to be made.
const dialTimeout = 5 * time.Second

// singleUse makes a connection for every call, since a guest's address may have a new
// guest the next time. All clients share it, so that making one costs nothing.
var singleUse = newHTTP(func() *http.Transport {
	transport := newTransport(net.Dialer{Timeout: dialTimeout})
	transport.DisableKeepAlives = true
	return transport
}())

// What answers at a guest's address may be anything that its owner has put there, while the
// node's process is root and on the operator's network. So the node goes nowhere that an
// answer sends it, asks no proxy, and takes no more than these bounds.
const (
	maxAnswerHeader = 64 << 10 // bytes
	// maxMessage is the largest message of a stream, in bytes. The daemon sends output in
	// pieces of at most 32 KiB.
	maxMessage = 1 << 20
	// headTime bounds how long the head of an answer may take after the request was sent. A
	// guest that has little processor needs some seconds.
	headTime = time.Minute
)

// shortFramed ends a stream at a message that is larger than maxMessage. The RPC library
// refuses the message, too, but reads all of it first.
type shortFramed struct{ next http.RoundTripper }

var _ http.RoundTripper = shortFramed{}

// RoundTrip implements http.RoundTripper.
func (t shortFramed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), "application/connect+") {
		resp.Body = &framedBody{ReadCloser: resp.Body}
	}
	return resp, err
}

// CloseIdleConnections lets http.Client reach those of the transport below.
func (t shortFramed) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// framedBody follows the frames of a stream: one byte of flags, four of length, content
// (the Connect protocol's "enveloped message").
type framedBody struct {
	io.ReadCloser
	head []byte // of the next frame, as far as it was read
	left int    // bytes of the present frame
}

const frameHead = 5 // bytes

var errFrameTooLarge = errors.New("the guest sent a message that is too large")

// Read implements io.Reader.
func (b *framedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if skip := min(b.left, len(rest)); skip > 0 {
			b.left, rest = b.left-skip, rest[skip:]
			continue
		}
		take := min(frameHead-len(b.head), len(rest))
		b.head, rest = append(b.head, rest[:take]...), rest[take:]
		if len(b.head) == frameHead {
			size := binary.BigEndian.Uint32(b.head[1:])
			if size > maxMessage {
				return 0, errFrameTooLarge
			}
			b.head, b.left = b.head[:0], int(size)
		}
	}
	return n, err
}

// newHTTP returns a client that follows no redirect: the answer that asks for one is the
// answer.
func newHTTP(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: shortFramed{transport}, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func newTransport(dialer net.Dialer) *http.Transport {
	return &http.Transport{Proxy: nil, DialContext: dialer.DialContext, DisableCompression: true,
		MaxResponseHeaderBytes: maxAnswerHeader, ResponseHeaderTimeout: headTime}
}

// bounded is what all RPCs to a guest have in common. Compression is off as in other calls:
// it costs the guest more than it saves, since an answer does not leave the machine, and a
// compressed message may be far larger than it looks.
var bounded = connect.WithClientOptions(connect.WithAcceptCompression("gzip", nil, nil),
	connect.WithReadMaxBytes(maxMessage))

// drained reads an answer to its end before it is closed. Otherwise the connection would be
// closed, too.
type drained struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t drained) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(req)
	if err == nil {
		resp.Body = drainedBody{resp.Body}
	}
	return resp, err
}

type drainedBody struct{ io.ReadCloser }

// maxDrain is the most that is read for the sake of a connection, in bytes.
const maxDrain = 4 << 10

// Close implements io.Closer.
func (b drainedBody) Close() error {
	_, _ = io.CopyN(io.Discard, b.ReadCloser, maxDrain)
	return b.ReadCloser.Close()
}

// identify adds the token and the user of a request. An empty user is the guest's default.
func (c *Client) identify(header http.Header, user string) {
	if c.token != "" {
		header.Set(envdapi.TokenHeader, c.token)
	}
	if user != "" {
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":")))
	}
}
