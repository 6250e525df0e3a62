package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// The idle times increase from hop to hop: each keeps its connections longer than the one
// before, so that the upstream never closes first (runtime.md §1.6).
const (
	upstreamIdle = 610 * time.Second
	// serviceIdle is how long an idle connection to a guest's own service is kept. It is
	// shorter than the limit of common servers (2 s and more), because a request would be
	// lost if the server closed the connection just then. envd and nodes keep their
	// connections longer than this proxy.
	serviceIdle = time.Second
	// ServerIdle is how long a listener of this proxy keeps an idle connection.
	ServerIdle = 620 * time.Second
	dialTime   = 30 * time.Second
	// fileBuffer is how many bytes of a file are read or written at once. A guest's network
	// takes few long packets much faster than many short ones. Other streams have a
	// streamBuffer, since many of them may be open.
	fileBuffer   = 256 << 10
	streamBuffer = 32 << 10
)

// dialPauses are the waits before each further attempt at a refused port: a listener on the
// guest's loopback is relayed a moment after it appears.
var dialPauses = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond,
	400 * time.Millisecond}

// upstream holds connections to guests and nodes.
type upstream struct {
	mu         sync.Mutex
	executions map[string]*execution
	// ended holds the executions that were forgotten last. A request that found its sandbox
	// just before that must not open new connections.
	ended   map[string]struct{}
	oldest  []string // the keys of ended, in order
	files   bufferPool
	streams bufferPool
	conns   atomic.Int64 // to guests and nodes, also those that are being opened
	most    int64        // bound of conns
}

// endedKept bounds upstream.ended: a request gets from the resolver to a connection long
// before this many sandboxes have ended.
const endedKept = 4096

// execution is one run of a sandbox and the connections to it.
type execution struct {
	upstream *upstream
	files    *http.Transport // to envd, or to a node's proxy, for files
	daemon   *http.Transport // to the same, for all else
	services *http.Transport // to other services in the guest
	mu       sync.Mutex
	ended    bool
	conns    map[net.Conn]struct{}
	life     context.Context // canceled when the execution ends
	end      context.CancelFunc
}

// newUpstream returns a store of at most so many connections.
func newUpstream(most int) *upstream {
	return &upstream{executions: map[string]*execution{}, ended: map[string]struct{}{}, most: int64(most),
		files: newBufferPool(fileBuffer), streams: newBufferPool(streamBuffer)}
}

// of returns the connections of an execution; those of a node are kept under the node's
// address. It returns nil once the execution has ended.
func (u *upstream) of(id string) *execution {
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.executions[id]
	if _, ended := u.ended[id]; e == nil && !ended {
		e = &execution{upstream: u, conns: map[net.Conn]struct{}{}}
		e.life, e.end = context.WithCancel(context.Background())
		e.files = e.newTransport(upstreamIdle, fileBuffer)
		e.daemon = e.newTransport(upstreamIdle, streamBuffer)
		e.services = e.newTransport(serviceIdle, streamBuffer)
		u.executions[id] = e
	}
	return e
}

func (e *execution) newTransport(idle time.Duration, buffer int) *http.Transport {
	return &http.Transport{
		DialContext: e.dial,
		// For httpsPorts: the guest's certificate is its own, and the link is private.
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     idle,
		ForceAttemptHTTP2:   false,
		WriteBufferSize:     buffer,
		ReadBufferSize:      buffer,
	}
}

func (u *upstream) forget(id string) {
	u.mu.Lock()
	e := u.executions[id]
	delete(u.executions, id)
	if _, known := u.ended[id]; !known {
		u.ended[id] = struct{}{}
		u.oldest = append(u.oldest, id)
	}
	if len(u.oldest) > endedKept {
		delete(u.ended, u.oldest[0])
		u.oldest = u.oldest[1:]
	}
	u.mu.Unlock()
	if e != nil {
		e.reset()
	}
}

// reserve takes the place of a connection, and closes idle ones if there is none left.
func (u *upstream) reserve() bool {
	if u.conns.Add(1) <= u.most {
		return true
	}
	u.mu.Lock()
	all := slices.Collect(maps.Values(u.executions))
	u.mu.Unlock()
	for _, e := range all {
		e.closeIdle()
	}
	if u.conns.Load() <= u.most {
		return true
	}
	u.conns.Add(-1)
	return false
}

// errStrayed means that a node's proxy does not know the sandbox.
var errStrayed = errors.New("the node does not know the sandbox")

// errNoRoom means that the proxy holds as many connections as it may.
var errNoRoom = errors.New("no connection is left")

// dial returns a connection within the bound of all.
func (e *execution) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if !e.upstream.reserve() {
		return nil, errNoRoom
	}
	conn, err := e.open(ctx, network, addr)
	if err != nil {
		e.upstream.conns.Add(-1)
	}
	return conn, err
}

// open retries while the port is refused.
func (e *execution) open(ctx context.Context, network, addr string) (net.Conn, error) {
	// The address of a sandbox that has ended answers nothing, not even with a refusal.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	dialer := net.Dialer{Timeout: dialTime, KeepAlive: 20 * time.Second}
	conn, err := dialer.DialContext(ctx, network, addr)
	for _, pause := range dialPauses {
		if err == nil || !errors.Is(err, unix.ECONNREFUSED) {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, &dialError{ctx.Err()}
		case <-timer.C:
		}
		conn, err = dialer.DialContext(ctx, network, addr)
	}
	if err != nil {
		return nil, &dialError{err}
	}
	tracked := &trackedConn{Conn: conn, owner: e}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		conn.Close()
		return nil, &dialError{net.ErrClosed}
	}
	e.conns[tracked] = struct{}{}
	return tracked, nil
}

// reset closes every connection with a TCP reset, because the guest's address is about to
// belong to another sandbox.
func (e *execution) reset() {
	e.end()
	e.mu.Lock()
	e.ended = true
	conns := e.conns
	e.conns = map[net.Conn]struct{}{}
	e.mu.Unlock()
	for conn := range conns {
		tracked := conn.(*trackedConn)
		if tcp, ok := tracked.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		tracked.Close()
	}
	e.closeIdle()
}

func (e *execution) closeIdle() {
	for _, transport := range []*http.Transport{e.files, e.daemon, e.services} {
		transport.CloseIdleConnections()
	}
}

// trackedConn removes itself from its execution when it is closed.
type trackedConn struct {
	net.Conn
	owner  *execution
	closed atomic.Bool
}

func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.conns, c)
	c.owner.mu.Unlock()
	if !c.closed.Swap(true) {
		defer c.owner.upstream.conns.Add(-1)
	}
	return c.Conn.Close()
}

// CloseWrite passes a half-close on.
func (c *trackedConn) CloseWrite() error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// ReadFrom implements io.ReaderFrom, by which the library sends a body of known length once it is beyond its
// buffer.
func (c *trackedConn) ReadFrom(r io.Reader) (int64, error) {
	buffers := &c.owner.upstream.files
	buffer := buffers.Get()
	defer buffers.Put(buffer)
	moved, err := c.moveFrom(r, buffer)
	if err != nil {
		return moved, err
	}
	copied, err := io.CopyBuffer(struct{ io.Writer }{c.Conn}, r, buffer)
	return moved + copied, err
}

// dialError distinguishes a port that is not open from an upstream that failed later.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// bufferPool lends buffers for copying streams.
type bufferPool struct{ pool sync.Pool }

var _ httputil.BufferPool = (*bufferPool)(nil)

func newBufferPool(size int) bufferPool {
	return bufferPool{pool: sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}}
}

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// forward streams the request to the guest, or to the proxy in front of it. It returns true
// if that execution has ended, or that proxy does not know the sandbox, and the request can be
// sent again as a whole.
func (h *Handler) forward(
	w http.ResponseWriter, r *http.Request, rt route, target Target, body *body,
) (again bool) {
	port := strconv.FormatUint(rt.port, 10)
	scheme, address, key := "http", target.Node, "node:"+target.Node
	if target.Node == "" {
		address, key = net.JoinHostPort(target.Host.String(), port), target.ExecutionID
		if speaksTLS(rt, target) {
			scheme = "https"
		}
	}
	execution := h.upstream.of(key)
	if execution == nil {
		return true
	}
	transport, buffers := execution.services, &h.upstream.streams
	switch {
	case movesFile(r, rt):
		transport, buffers = execution.files, &h.upstream.files
	case target.Node != "" || rt.port == shoal.EnvdPort:
		transport = execution.daemon
	}
	// An answer may begin before the request's body ends. HTTP/2 always allows this, and
	// returns an error here.
	_ = http.NewResponseController(w).EnableFullDuplex()
	masked := maskedHost(r, rt, target)
	traced, waiting := telemetry.Start(r.Context(), "proxy.answer") // until its head is there
	defer waiting.End(nil)
	reverse := httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // streams reach the client as they are written
		BufferPool:    buffers,
		ErrorLog:      slog.NewLogLogger(h.log.Handler(), slog.LevelDebug), // streams that one side has cut
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = scheme, address
			if p.Out.Body != nil {
				p.Out.Body = body.again()
			}
			p.Out.Host = r.Host // through both hops: the guest sees the client's
			if r.Host == "" && target.Node != "" {
				p.Out.Host = "localhost" // or else it would see the node's
			}
			dropOwnCookies(p.Out.Header)
			p.Out.URL.RawQuery = p.In.URL.RawQuery // by default, what cannot be parsed is dropped
			// By default these headers of the client are dropped; here they are passed on.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
				"X-Forwarded-Proto"} {
				if v := r.Header.Values(name); v != nil {
					p.Out.Header[name] = v
				}
			}
			switch {
			case target.Node != "" && rt.signed:
				p.Out.Header.Set(headerSandbox, rt.sandboxID)
				p.Out.Header.Set(headerPort, port)
			case target.Node == "" && masked != "":
				p.Out.Host = masked
				p.Out.Header.Set("X-Forwarded-Host", r.Host)
			}
			if rt.port == shoal.EnvdPort {
				p.Out.Header.Set("X-Request-Id", requestID(r))
			}
			passTrace(traced, p.Out.Header, rt.port, target.Node != "")
		},
		ModifyResponse: func(answer *http.Response) error {
			waiting.SetNumber(telemetry.Status, answer.StatusCode)
			waiting.End(nil)
			unknown := target.Node != "" && answer.Header.Get(headerRoute) == routeUnknown
			answer.Header.Del(headerRoute) // only proxies say this
			if unknown {
				return errStrayed
			}
			body.settle()
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			switch {
			case errors.Is(err, errStrayed):
				again = body.isWhole()
				if !again {
					h.strayed(w, r, rt, target)
				}
			case body.hasFailed():
				badBodyPage(rt.sandboxID).write(w, r)
			default:
				again = h.upstreamFailed(w, r, rt, target, err)
			}
		},
	}
	reverse.ServeHTTP(w, r)
	return again
}

// speaksTLS reports whether the sandbox's creator has named the port in httpsPorts.
func speaksTLS(rt route, target Target) bool {
	return rt.port != shoal.EnvdPort && slices.Contains(target.HTTPSPorts, int(rt.port))
}

// strayed answers a request that another machine than the sandbox's has swallowed a part of.
// The next request is not sent there any more.
func (h *Handler) strayed(w http.ResponseWriter, r *http.Request, rt route, target Target) {
	p := notFoundPage(rt.sandboxID, "connection_lost")
	_, err := h.resolver.Resolve(r.Context(), Request{SandboxID: rt.sandboxID, Port: rt.port, Passive: true,
		Source: sourceOf(r), Strayed: target.Node})
	if err != nil {
		p = errorPage(rt.sandboxID, err)
	}
	p.write(w, r)
}

// upstreamFailed answers in place of an upstream that failed. If nothing was sent because
// the execution has ended, it returns true instead.
func (h *Handler) upstreamFailed(w http.ResponseWriter, r *http.Request, rt route, target Target,
	err error) (again bool) {
	if r.Context().Err() != nil {
		return false // the client has gone
	}
	var dial *dialError
	switch {
	case errors.Is(err, errNoRoom):
		limitPage(rt.sandboxID, shoal.ErrProxyBusy, int(h.upstream.most)).write(w, r)
	case target.Node != "":
		h.log.Warn("a node's proxy cannot be reached", "node", target.Node, "error", err)
		http.Error(w, "Failed to route request to sandbox", http.StatusBadGateway)
	case errors.As(err, &dial) && h.upstream.of(target.ExecutionID) == nil:
		return true
	case errors.As(err, &dial):
		closedPortPage(rt).write(w, r)
	default:
		// The sandbox ended, or its service closed the connection without an answer.
		p := notFoundPage(rt.sandboxID, "connection_lost")
		if _, err := h.resolver.Resolve(r.Context(),
			Request{SandboxID: rt.sandboxID, Port: rt.port, Passive: true, Source: sourceOf(r)}); err == nil {
			p = noAnswerPage(rt, speaksTLS(rt, target))
		}
		p.write(w, r)
	}
	return false
}
