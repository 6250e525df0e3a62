// Package client is the node's side of the contract with the daemons of its guests: it sets
// a guest up, asks for its metrics, runs commands in it and sends files to it. Every call of
// the host to a guest goes through it, because whoever is root in a guest can replace its
// daemon: transport.go says what an answer may be.
package client

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"sync"

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
	http  *caller

	// Most clients make no RPC, so these are made when they are first used.
	process    func() processconnect.ProcessClient
	filesystem func() filesystemconnect.FilesystemClient
}

// Option changes how a Client speaks to its guest.
type Option func(*guarded)

// KeepAlive keeps the connection between calls, which costs the guest a dozen system
// calls to make. Close must be called before the guest's address is another's. Without
// it every call makes a connection, since the address may have a new guest the next time.
func KeepAlive() Option { return (*guarded).keepAlive }

// New returns a client for the guest that the node reaches at host. The token is that of
// the daemon, or "" while it has none.
func New(host, token string, opts ...Option) *Client {
	transport := newTransport(host)
	for _, opt := range opts {
		opt(transport)
	}
	c := &Client{base: envdapi.URL(host), token: token, http: &caller{http.Client{Transport: transport}}}
	c.process = sync.OnceValue(func() processconnect.ProcessClient {
		return processconnect.NewProcessClient(c.http, c.base, bounded)
	})
	c.filesystem = sync.OnceValue(func() filesystemconnect.FilesystemClient {
		return filesystemconnect.NewFilesystemClient(c.http, c.base, bounded)
	})
	return c
}

// bounded is to RPCs what guarded is to all calls. Compression is refused for the guest's
// sake, too: it costs more than it saves, since the answer does not leave the machine.
var bounded = connect.WithClientOptions(connect.WithAcceptCompression("gzip", nil, nil),
	connect.WithReadMaxBytes(maxMessage))

// Close ends the connection that KeepAlive kept. Calls under way are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// caller is an http.Client whose errors do not name the URL: tenants may read them.
type caller struct{ http.Client }

var _ connect.HTTPClient = (*caller)(nil)

// Do sends a request.
func (c *caller) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.Client.Do(req)
	var named *url.Error
	if errors.As(err, &named) {
		err = named.Err
	}
	return resp, err
}

// ask sends a request without a body. The caller closes the answer's.
func (c *Client) ask(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	c.identify(req.Header, "")
	return c.http.Do(req)
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
