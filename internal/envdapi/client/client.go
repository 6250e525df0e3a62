// Package client is the node's side of the contract with the daemons of its guests: it sets
// a guest up, asks for its metrics, runs commands in it and sends files to it.
package client

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
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
		c.http = &http.Client{Transport: drained{newTransport(dialer)}}
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
		return processconnect.NewProcessClient(c.http, c.base, uncompressed)
	})
	c.filesystem = sync.OnceValue(func() filesystemconnect.FilesystemClient {
		return filesystemconnect.NewFilesystemClient(c.http, c.base, uncompressed)
	})
	return c
}

// Close ends the connection that KeepAlive kept. Calls under way are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dialTimeout bounds how long a connection to a guest may take to be made.
const dialTimeout = 5 * time.Second

// singleUse makes a connection for every call, since a guest's address may have a new
// guest the next time. All clients share it, so that making one costs nothing.
var singleUse = &http.Client{Transport: func() *http.Transport {
	transport := newTransport(net.Dialer{Timeout: dialTimeout})
	transport.DisableKeepAlives = true
	return transport
}()}

func newTransport(dialer net.Dialer) *http.Transport {
	return &http.Transport{DialContext: dialer.DialContext, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10}
}

// uncompressed is to RPCs what DisableCompression is to other calls: to compress an answer
// costs the guest more than it saves, since it does not leave the machine.
var uncompressed = connect.WithAcceptCompression("gzip", nil, nil)

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
