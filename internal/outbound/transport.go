package outbound

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"shoal/internal/shoal"
)

// Bounds of one exchange with a server that a tenant chose.
const (
	// maxRedirects is how many redirects of one request are followed.
	maxRedirects = 5
	// maxHeaders bounds the head of an answer, in bytes.
	maxHeaders = 64 << 10
	// defaultBody bounds the body of an answer, in bytes, unless WithBodyLimit says more. The
	// largest manifest that registries take has 4 MiB.
	defaultBody = 4 << 20
	// handshakeTimeout bounds the TLS handshake.
	handshakeTimeout = 10 * time.Second
	// headTimeout bounds the wait for the head of an answer. The time for the body is the
	// request's context.
	headTimeout = time.Minute
	// idleTimeout is how long a connection without a request is kept; maxIdle is how many are.
	idleTimeout = time.Minute
	maxIdle     = 16
)

// Transport sends HTTP requests to servers that tenants choose. It is safe for concurrent
// use. What it returns as an error beside ErrOutboundRefused is a Failure or the end of the
// request's context.
type Transport struct {
	dialer  *Dialer
	proxy   func(*http.Request) (*url.URL, error)
	direct  *http.Transport
	proxied *http.Transport // connects to the operator's proxies only
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport returns a transport.
func NewTransport(cfg Config) (*Transport, error) {
	dialer, err := NewDialer(cfg)
	if err != nil {
		return nil, err
	}
	proxy, err := ParseProxy(cfg.Proxy)
	if err != nil {
		return nil, err
	}
	t := &Transport{dialer: dialer, proxy: proxy}
	t.direct = &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headTimeout,
		MaxResponseHeaderBytes: maxHeaders,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           maxIdle,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a body is as large as what was sent
	}
	t.proxied = t.direct.Clone()
	t.proxied.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	t.proxied.Proxy = func(r *http.Request) (*url.URL, error) {
		address, err := proxy(r)
		if err == nil && address == nil {
			err = errors.New("no proxy is responsible") // it would be dialed unchecked
		}
		return address, err
	}
	return t, nil
}

// RoundTrip sends one request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if redirects(r) > maxRedirects {
		return nil, &Failure{reason: "it redirects too often"}
	}
	way := t.direct
	proxy, err := t.proxy(r)
	switch {
	case err != nil:
		return nil, &Failure{reason: "the operator's proxy cannot be used", err: err}
	case proxy != nil:
		if err := t.dialer.permitsUnresolved(r.URL.Hostname(), portOf(r.URL)); err != nil {
			return nil, err
		}
		way = t.proxied
	}
	answer, err := way.RoundTrip(r)
	if err != nil {
		return nil, failure(r.Context(), err)
	}
	answer.Body = &boundedBody{ReadCloser: answer.Body, ctx: r.Context(), left: bodyLimit(r.Context())}
	return answer, nil
}

// redirects counts the redirects that led to a request.
func redirects(r *http.Request) int {
	n := 0
	for r != nil && r.Response != nil {
		r = r.Response.Request
		n++
	}
	return n
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

type bodyLimitKey struct{}

// WithBodyLimit returns a context whose requests may be answered with a body of so many
// bytes.
func WithBodyLimit(ctx context.Context, bytes int64) context.Context {
	return context.WithValue(ctx, bodyLimitKey{}, bytes)
}

func bodyLimit(ctx context.Context) int64 {
	if bytes, ok := ctx.Value(bodyLimitKey{}).(int64); ok {
		return bytes
	}
	return defaultBody
}

// boundedBody fails once more than its limit was read.
type boundedBody struct {
	io.ReadCloser
	ctx  context.Context
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more shows that there is more
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &Failure{reason: "its answer is too large"}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = failure(b.ctx, err)
	}
	return n, err
}

// failure words the error of an exchange, unless the caller has ended it.
func failure(ctx context.Context, err error) error {
	if ctx.Err() != nil || shoal.ErrOutboundRefused.Matches(err) {
		return err
	}
	return &Failure{reason: reason(err), err: err}
}

// CheckURL returns ErrOutboundRefused for a URL that is refused whatever its name leads to, so that
// whoever gives one learns it at once. Others may be refused when they are asked.
func (t *Transport) CheckURL(u *url.URL) error {
	return t.dialer.permitsUnresolved(u.Hostname(), portOf(u))
}
