package endpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// bounded serves within bounds. Its handler answers, takes a connection over at
// /own, and keeps a request open at /stream until the client goes.
func bounded(t *testing.T, all, each int) string {
	t.Helper()
	return boundedBy(t, new(waiting), all, each)
}

func boundedBy(t *testing.T, w *waiting, all, each int) string {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/stream":
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/own":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			_, _ = io.Copy(conn, conn)
		default:
			fmt.Fprint(w, "answer")
		}
	})
	return served(t, w, &http.Server{Handler: handler}, all, each)
}

// served has a server serve within bounds until the test ends, and returns its address.
func served(t *testing.T, w *waiting, server *http.Server, all, each int) string {
	t.Helper()
	listeners, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.serve(server, listeners, all, each) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return listeners[0].Addr().String()
}

// caller is one connection to it.
type caller struct {
	t *testing.T
	net.Conn
	reader *bufio.Reader
}

func connect(t *testing.T, addr string, from ...string) *caller {
	t.Helper()
	var d net.Dialer
	if len(from) > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from[0])}
	}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if errors.Is(err, syscall.ECONNRESET) {
		return &caller{t: t} // it was closed before it was seen to be made
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &caller{t, conn, bufio.NewReader(conn)}
}

// get returns the status of an answer, or 0 if the connection is closed.
func (c *caller) get(path string) int {
	c.t.Helper()
	if c.Conn == nil {
		return 0
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path)
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0
	}
	if path == "/" {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode
}

// awaitIdle waits until all connections but the busy ones are idle: a client can have its
// answer before the server knows that.
func (w *waiting) awaitIdle(t *testing.T, busy int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		w.mu.Lock()
		idles, all := w.all[idle].Len(), len(w.clients)
		w.mu.Unlock()
		if idles == all-busy {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d connections are idle", idles, all)
		}
		runtime.Gosched()
	}
}

// TestFloodOfIdleConnections: silent, half and used connections make room for others, the
// silent ones first; streams and connections that were taken over stay.
func TestFloodOfIdleConnections(t *testing.T) {
	addr := bounded(t, 8, 8)
	stream, own, kept := connect(t, addr), connect(t, addr), connect(t, addr)
	if stream.get("/stream") != 200 || own.get("/own") != 101 || kept.get("/") != 200 {
		t.Fatal("no answers to begin with")
	}
	var flood []*caller
	for i := range 100 {
		c := connect(t, addr)
		if c.Conn == nil {
			t.Fatal("refused although others wait")
		}
		flood = append(flood, c)
		if i%2 == 0 {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: te")
		}
	}
	for _, c := range flood[:90] {
		if _, err := c.reader.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a silent connection is still open: %v", err)
		}
	}
	if got := connect(t, addr).get("/"); got != 200 {
		t.Errorf("a request beside the flood: %d", got)
	}
	if got := kept.get("/"); got != 200 {
		t.Errorf("a connection that was used before: %d", got)
	}
	fmt.Fprint(own, "echo\n")
	if line, err := own.reader.ReadString('\n'); line != "echo\n" {
		t.Errorf("a connection that was taken over: %q %v", line, err)
	}
	_ = stream.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := stream.reader.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stream ended: %v", err)
	}
}

// TestAnsweredConnectionsMakeRoom, although the server still waits for the rest of a body
// that the handler did not read.
func TestAnsweredConnectionsMakeRoom(t *testing.T) {
	addr := bounded(t, 4, 4)
	for range 20 {
		c := connect(t, addr)
		if c.Conn == nil {
			continue
		}
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\na")
	}
	for end := time.Now().Add(10 * time.Second); connect(t, addr).get("/") != 200; {
		if time.Now().After(end) {
			t.Fatal("bodies that never end keep every place")
		}
	}
}

// TestUnreadRequestsStay: whoever has sent a request that the server has had no time to read
// does not count as silent, but a flood of such does.
func TestUnreadRequestsStay(t *testing.T) {
	listeners, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[0].Close()
	var w waiting
	w.follow(&http.Server{Handler: http.NotFoundHandler()})
	wait := func(what standing, sent string) *client {
		t.Helper()
		fmt.Fprint(connect(t, listeners[0].Addr().String()), sent)
		conn, err := listeners[0].Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for end := time.Now().Add(10 * time.Second); sent != "" && !hasUnread(conn); {
			if time.Now().After(end) {
				t.Fatal("what was sent did not arrive")
			}
		}
		source, _ := sourceOf(conn)
		c := &client{conn: conn, source: source, standing: busy}
		w.stand(c, what)
		return c
	}
	const begun = "GET / HTTP/1.1\r\n"
	first := wait(silent, begun)
	if got := w.all.longest(); got != first {
		t.Error("there is no other, but it is not closed")
	}
	answered := wait(idle, "")
	for range unreadShare - 1 {
		wait(silent, begun)
		if got := w.all.longest(); got != answered {
			t.Error("the idle one is not closed, but one with a request")
		}
	}
	wait(silent, begun)
	if got := w.all.longest(); got != first {
		t.Error("a flood of beginnings costs the last idle one")
	}
	mute := wait(silent, "")
	w.remove(first)
	for w.all[silent].Front().Value.(*client) != mute {
		w.remove(w.all[silent].Front().Value.(*client))
	}
	wait(silent, "")
	if got := w.all.longest(); got != mute {
		t.Error("the larger group is silent, but the one that is so longest is not closed")
	}
}

// TestBusyConnectionsStay: if all connections are busy, the new one is closed at once, and
// has its place again when one ends.
func TestBusyConnectionsStay(t *testing.T) {
	addr := bounded(t, 2, 2)
	first, second := connect(t, addr), connect(t, addr)
	if first.get("/stream") != 200 || second.get("/stream") != 200 {
		t.Fatal("no streams")
	}
	if got := connect(t, addr).get("/"); got != 0 {
		t.Errorf("one too many: %d", got)
	}
	first.Close()
	for end := time.Now().Add(10 * time.Second); connect(t, addr).get("/") != 200; {
		if time.Now().After(end) {
			t.Fatal("there is no room again")
		}
	}
}

// TestOneSourceMakesRoomForItself: at its own bound, a source closes connections of its own
// and no others.
func TestOneSourceMakesRoomForItself(t *testing.T) {
	var w waiting
	addr := boundedBy(t, &w, 8, 2)
	other := connect(t, addr, "127.0.0.2")
	if other.get("/") != 200 {
		t.Fatal("no answer to begin with")
	}
	for range 50 {
		w.awaitIdle(t, 0)
		if got := connect(t, addr).get("/"); got != 200 {
			t.Fatalf("beside idle connections of its own: %d", got)
		}
	}
	if got := other.get("/"); got != 200 {
		t.Errorf("another source's connection: %d", got)
	}
	for streams := range 2 {
		w.awaitIdle(t, streams)
		if connect(t, addr).get("/stream") != 200 {
			t.Fatal("no streams")
		}
	}
	if got := connect(t, addr).get("/"); got != 0 {
		t.Errorf("one too many of a source: %d", got)
	}
	if got := other.get("/"); got != 200 {
		t.Errorf("another source's connection, after one too many: %d", got)
	}
}

func TestSources(t *testing.T) {
	for name, c := range map[string]struct {
		one, other string
		same       bool
	}{
		"as IPv6 writes it": {"192.0.2.1", "::ffff:192.0.2.1", true},
		"two addresses":     {"192.0.2.1", "192.0.2.2", false},
		"one network":       {"2001:db8::1", "2001:db8::ffff:0:0:2", true},
		"two networks":      {"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		one, _ := sourceOf(from(c.one))
		other, _ := sourceOf(from(c.other))
		if (one == other) != c.same {
			t.Errorf("%s: %v and %v", name, one, other)
		}
	}
}

// remote is a connection from an address.
type remote struct {
	net.Conn
	addr net.TCPAddr
}

func (r remote) RemoteAddr() net.Addr { return &r.addr }

func from(ip string) net.Conn { return remote{addr: net.TCPAddr{IP: net.ParseIP(ip)}} }

// TestFloodsOfChanges: connections of a crowded source make room for others of it at a bounded
// rate, and those of all sources for whoever has few.
func TestFloodsOfChanges(t *testing.T) {
	const atOnce = 3
	w := waiting{changes: rate.NewLimiter(0, atOnce)}
	addr := boundedBy(t, &w, 8, 4)
	other := connect(t, addr, "127.0.0.2")
	if other.get("/") != 200 {
		t.Fatal("no answer to begin with")
	}
	answered := 0
	for range 20 {
		w.awaitIdle(t, 0)
		if connect(t, addr).get("/") == 200 {
			answered++
		}
	}
	if answered != 4+atOnce {
		t.Errorf("%d connections of the flood were answered", answered)
	}
	if other.get("/") != 200 {
		t.Error("the other source's connection was closed")
	}
	for n := range 10 {
		w.awaitIdle(t, 0)
		if got := connect(t, addr, fmt.Sprintf("127.0.0.%d", 3+n)).get("/"); got != 200 {
			t.Errorf("a connection of another source: %d", got)
		}
	}
}
