package intercept_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"shoal/internal/shoal"
)

// splice passes connections on as they are, as for a name without a transform. It is what Serve is
// compared with: each client's TLS then ends at the server.
func splice(b *testing.B, w *world) string {
	b.Helper()
	ln := listen(b)
	serve(b, ln, func() {}, func(guest net.Conn) {
		defer guest.Close()
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			_, _ = io.Copy(server, guest)
			_ = server.(*net.TCPConn).CloseWrite()
		}()
		_, _ = io.Copy(guest, server)
	})
	return ln.Addr().String()
}

// ways are a client's by Serve and by splice, with both versions of HTTP.
func ways(b *testing.B, w *world, run func(b *testing.B, c *http.Client)) {
	between, trusted := w.between, w.pool
	direct := splice(b, w)
	for _, http2 := range []bool{false, true} {
		for _, way := range []string{"splice", "transform"} {
			b.Run(fmt.Sprintf("http2=%v/%s", http2, way), func(b *testing.B) {
				w.between = between
				if way == "splice" {
					w.between = direct
				}
				w.pool = trusted
				c := w.client(http2)
				if way == "splice" {
					c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: w.roots, ServerName: serverName}
				}
				run(b, c)
			})
		}
	}
}

func get(b *testing.B, c *http.Client, url string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != 200 {
		b.Fatal(answer.Status, err)
	}
	answer.Body.Close()
}

// BenchmarkRequests is small requests one after another on one connection.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }),
		options{headers: map[string]string{"Authorization": "Bearer ${e2b.secrets.k}"}})
	w.filler.values[shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "k"}] = "secret"
	ways(b, w, func(b *testing.B, c *http.Client) {
		for b.Loop() {
			get(b, c, w.url("/"))
		}
	})
}

// BenchmarkDownload is 100 MB at once.
func BenchmarkDownload(b *testing.B) {
	data := make([]byte, 1<<20)
	w := newWorld(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			_, _ = w.Write(data)
		}
	}), options{headers: map[string]string{"A": "b"}})
	ways(b, w, func(b *testing.B, c *http.Client) {
		b.SetBytes(100 << 20)
		for b.Loop() {
			get(b, c, w.url("/"))
		}
	})
}

// BenchmarkConnections is a request on a new connection each.
func BenchmarkConnections(b *testing.B) {
	w := newWorld(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }),
		options{headers: map[string]string{"A": "b"}})
	ways(b, w, func(b *testing.B, c *http.Client) {
		for b.Loop() {
			get(b, c, w.url("/"))
			c.CloseIdleConnections()
		}
	})
}
