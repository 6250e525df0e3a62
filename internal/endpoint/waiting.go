package endpoint

import (
	"container/list"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// waiting knows which connections of a server wait, so that one of them can be closed where
// another one needs its place. A connection with a request under way, such as a stream or a
// WebSocket, is never closed for another.
type waiting struct {
	mu      sync.Mutex // a leaf
	clients map[net.Conn]*client
	all     crowd
	sources map[netip.Addr]*crowd // without empty ones
	// changes bounds how often connections make room for others of crowded sources.
	changes *rate.Limiter
}

// changeRate is how many connections of crowded sources take the place of others in a second,
// and changeBurst how many do at once. Each such change costs many times what a refusal does.
const changeRate, changeBurst = 500, 1000

// standing is what a connection waits for, if it may be closed for another.
type standing int

const (
	silent standing = iota // it has not sent a whole request yet; at most its handshake is done
	idle                   // it has been answered, and has not sent another
	busy                   // a request is under way
)

// crowd is clients that wait, by their standing; those that wait longest are first.
type crowd [busy]list.List

// unreadShare bounds the precedence of silent connections: an idle connection is closed before
// a silent one with unread data, unless there are more than unreadShare silent ones per idle
// one.
const unreadShare = 4

// longest returns the one to close for another, nil if none waits. It is of the larger group,
// so that a flood of silent connections costs none of the others. An idle one is preferred to
// one that may be about to send its first request, or has sent it while this process was too
// busy to read.
func (c *crowd) longest() *client {
	group, other := &c[idle], &c[silent]
	if other.Len() > group.Len() {
		first := other.Front().Value.(*client)
		if other.Len() > unreadShare*group.Len() || !hasUnread(first.conn) {
			return first
		}
	}
	if group.Len() == 0 {
		return nil
	}
	return group.Front().Value.(*client)
}

// hasUnread reports whether there is something to read of a connection.
func hasUnread(conn net.Conn) (some bool) {
	under, ok := plain(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := under.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		some = err == nil && n > 0
	})
	return some && err == nil
}

// plain is the connection below TLS.
func plain(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

func (c *crowd) empty() bool { return c.len() == 0 }

func (c *crowd) len() int { return c[silent].Len() + c[idle].Len() }

// client is one connection.
type client struct {
	conn   net.Conn
	source netip.Addr
	// The rest is guarded by waiting.mu.
	standing      standing
	inAll, within *list.Element // its places in the crowds of all and of its source, unless busy
	gone          bool          // closed, or taken over by a handler
	asked         bool          // it has sent a whole request
}

// clientKey is where a request's context has its client.
type clientKey struct{}

// follow has the server tell of its connections. It comes before the server's start.
func (w *waiting) follow(server *http.Server) {
	w.clients, w.sources = map[net.Conn]*client{}, map[netip.Addr]*crowd{}
	if w.changes == nil {
		w.changes = rate.NewLimiter(changeRate, changeBurst)
	}
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		source, _ := sourceOf(conn)
		c := &client{conn: conn, source: source, standing: busy}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.clients[conn] = c
		return context.WithValue(ctx, clientKey{}, c)
	}
	server.ConnState = w.track
	server.Handler = w.release(server.Handler)
}

// track is called by the server when a connection's state changes.
func (w *waiting) track(conn net.Conn, state http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.clients[conn]
	if !ok {
		return
	}
	switch state {
	case http.StateNew:
		w.stand(c, silent)
	case http.StateActive:
		w.stand(c, busy)
	case http.StateIdle:
		// A connection of HTTP/2 is idle as soon as it is set up, before any request.
		if c.asked {
			w.stand(c, idle)
		} else {
			w.stand(c, silent)
		}
	case http.StateHijacked, http.StateClosed:
		w.remove(c)
	}
}

// stand moves a client to another standing. The caller holds the lock.
func (w *waiting) stand(c *client, next standing) {
	if c.gone {
		return
	}
	own := w.sources[c.source]
	if c.standing != busy {
		w.all[c.standing].Remove(c.inAll)
		own[c.standing].Remove(c.within)
	}
	c.standing = next
	if next != busy {
		if own == nil {
			own = &crowd{}
			w.sources[c.source] = own
		}
		c.inAll, c.within = w.all[next].PushBack(c), own[next].PushBack(c)
	} else if own != nil && own.empty() {
		delete(w.sources, c.source)
	}
}

// remove forgets a client. The caller holds the lock.
func (w *waiting) remove(c *client) {
	w.stand(c, busy)
	c.gone = true
	delete(w.clients, c.conn)
}

// makeRoom closes the connection that longest chooses: among those of the source if sameSource
// is set, else among all. It returns false if none waits, or if a flood of the
// source's connections is refused.
func (w *waiting) makeRoom(source netip.Addr, sameSource bool) bool {
	w.mu.Lock()
	if w.crowded(source) && !w.changes.Allow() {
		w.mu.Unlock()
		return false
	}
	from := &w.all
	if sameSource {
		from = w.sources[source]
	}
	var c *client
	if from != nil {
		c = from.longest()
	}
	if c != nil {
		w.remove(c)
	}
	w.mu.Unlock()
	if c == nil {
		return false
	}
	// It gives its place back. TLS would first wait until the client takes a last message.
	plain(c.conn).Close()
	return true
}

// crowded reports whether a source has more than an equal part of what waits. The caller
// holds the lock.
func (w *waiting) crowded(source netip.Addr) bool {
	own := w.sources[source]
	return own != nil && own.len()*len(w.sources) > w.all.len()
}

// release lets a connection make room as soon as its request is answered, where the server
// still waits for the rest of the request's body, which anybody can hold back.
func (w *waiting) release(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(clientKey{}).(*client)
		if ok {
			w.mu.Lock()
			c.asked = true
			w.mu.Unlock()
		}
		// A connection of HTTP/2 may have other requests under way.
		if !ok || r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(rw, r)
			return
		}
		body := &readBody{ReadCloser: r.Body}
		watched := *r
		watched.Body = body
		next.ServeHTTP(rw, &watched)
		if !body.ended.Load() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stand(c, idle)
		}
	})
}

// readBody is a request's body that remembers whether it was read to its end.
type readBody struct {
	io.ReadCloser
	ended atomic.Bool
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}
