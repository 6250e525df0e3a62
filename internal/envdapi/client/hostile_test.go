package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shoal/internal/envdapi"
)

// A guest may have put anything in place of its daemon.

// hostile serves handler at the daemon's port of an address of its own.
func hostile(t testing.TB, host string, handler http.HandlerFunc) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(envdapi.Port)))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return New(host, "the token")
}

// answering gives each connection to the daemon's port of an address to answer, which need
// not speak HTTP.
func answering(t testing.TB, host string, answer func(net.Conn)) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(envdapi.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
}

// wantFailure makes a call that must fail in time. answer names what the daemon does.
func wantFailure(t *testing.T, name string, c *Client, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := calls[name](ctx, c); err == nil || ctx.Err() != nil {
		t.Errorf("%s, %s: %v", name, answer, err)
	}
}

// calls are all that a node asks of a daemon.
var calls = map[string]func(context.Context, *Client) error{
	"init": func(ctx context.Context, c *Client) error {
		return c.Init(ctx, envdapi.Init{EnvVars: map[string]string{"SECRET": "x"}})
	},
	"ready":   func(ctx context.Context, c *Client) error { return c.Ready(ctx) },
	"metrics": func(ctx context.Context, c *Client) error { _, err := c.Metrics(ctx); return err },
	"run": func(ctx context.Context, c *Client) error {
		return c.Run(ctx, Command{Args: Shell("true")}, nil, func(bool, []byte) {})
	},
	"text": func(ctx context.Context, c *Client) error {
		_, err := c.Text(ctx, Command{Args: Shell("true")})
		return err
	},
	"warm up": func(ctx context.Context, c *Client) error { return c.WarmUp(ctx, "user") },
	"lives":   func(ctx context.Context, c *Client) error { _, err := c.Lives(ctx, 1); return err },
	"put": func(ctx context.Context, c *Client) error {
		return c.Put(ctx, "/tmp/x", strings.NewReader("content"))
	},
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer inside.Close()
	var status atomic.Int64
	c := hostile(t, "127.0.71.1", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", inside.URL+"/internal")
		w.WriteHeader(int(status.Load()))
	})
	for _, code := range []int64{301, 302, 303, 307, 308} {
		status.Store(code)
		for name := range calls {
			wantFailure(t, name, c, fmt.Sprintf("answered %d", code))
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the node followed %d redirects of a guest", n)
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	for _, transport := range []http.RoundTripper{singleUse.Transport,
		New("127.0.71.2", "", KeepAlive()).http.Transport} {
		transport = transport.(shortFramed).next
		if kept, ok := transport.(drained); ok {
			transport = kept.Transport
		}
		if transport.(*http.Transport).Proxy != nil {
			t.Error("a call to a guest may go through a proxy")
		}
	}
}

// TestHugeMessage announces far more than any daemon sends, and counts what is taken of it.
func TestHugeMessage(t *testing.T) {
	const announced = 2_000_000_000
	var taken atomic.Int64
	c := hostile(t, "127.0.71.3", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		head := binary.BigEndian.AppendUint32([]byte{0}, announced)
		if _, err := w.Write(head); err != nil {
			return
		}
		block := make([]byte, 1<<20)
		for range announced / len(block) {
			n, err := w.Write(block)
			taken.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	for _, name := range []string{"run", "text", "warm up"} {
		wantFailure(t, name, c, "a message of 2 GB")
	}
	if n := taken.Load(); n > 64<<20 { // what sockets hold between the two
		t.Errorf("the node took %d MiB", n>>20)
	}
}

func TestCompressedMessageIsRefused(t *testing.T) {
	c := hostile(t, "127.0.71.4", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("Connect-Content-Encoding", "gzip")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(append([]byte{1, 0, 0, 0, 10}, bytes.Repeat([]byte{0x1f}, 10)...))
	})
	for _, name := range []string{"metrics", "run", "text", "warm up", "lives"} { // who read the answer
		wantFailure(t, name, c, "compressed")
	}
}

// TestAnswersWithoutEnd sends heads and bodies that never end.
func TestAnswersWithoutEnd(t *testing.T) {
	answering(t, "127.0.71.5", func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, err := fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n")
		for n := 0; err == nil; n++ {
			_, err = fmt.Fprintf(conn, "X-%d: %s\r\n", n, strings.Repeat("x", 1000))
		}
	})
	for _, name := range []string{"metrics", "run", "lives", "put"} {
		wantFailure(t, name, New("127.0.71.5", ""), "a head without end")
	}
}

func TestImplausibleMetrics(t *testing.T) {
	var body atomic.Pointer[string]
	c := hostile(t, "127.0.71.6", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, *body.Load())
	})
	for _, text := range []string{`{"mem_total":18446744073709551615}`, `{"cpu_count":-1}`, `{"cpu_count":100000}`,
		`{"cpu_used_pct":-5}`, `{"cpu_used_pct":1e300}`, `{"disk_used":1e19}`, `[]`, ``} {
		body.Store(&text)
		if m, err := c.Metrics(t.Context()); err == nil {
			t.Errorf("%s was taken for %+v", text, m)
		}
	}
	text := `{"cpu_count":2,"cpu_used_pct":180.5,"mem_total":1073741824,"disk_used":5}`
	body.Store(&text)
	if m, err := c.Metrics(t.Context()); err != nil || m.CPUCount != 2 || m.DiskUsed != 5 {
		t.Errorf("%+v, %v", m, err)
	}
}

// FuzzAnswers lets a daemon answer every call with the same bytes. The node must come back
// with an answer or an error, and have taken little.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 307 \r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\n\r\n\x00\x7f\xff\xff\xffxx"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\n" +
		"Connect-Content-Encoding: gzip\r\n\r\n\x01\x00\x00\x00\x02\x1f\x8b"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"))
	var answer atomic.Pointer[[]byte]
	host := fmt.Sprintf("127.72.%d.%d", os.Getpid()>>8&255, os.Getpid()&255) // workers run side by side
	answering(f, host, func(conn net.Conn) {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(req.Body, 1<<10))
		}
		_, _ = conn.Write(*answer.Load())
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		answer.Store(&data)
		for _, name := range []string{"metrics", "run", "lives", "put"} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_ = calls[name](ctx, New(host, ""))
			if ctx.Err() != nil {
				t.Errorf("%s did not come back", name)
			}
			cancel()
		}
	})
}
