package endpoint

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// told answers with the role's name, and with what the request says of its client.
func told(role string) *http.Server {
	return &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s %s tls=%t", role, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"),
			r.Header.Get("X-Forwarded-Host"), r.TLS != nil)
	})}
}

func TestDomainNames(t *testing.T) {
	d := &Domain{Name: "box.example", API: told("api"), Proxy: told("proxy")}
	for host, want := range map[string]string{
		"api.box.example":            "api",
		"API.Box.Example:8443":       "api",
		"api.box.example.":           "api",
		"3000-iabc.box.example":      "proxy",
		"3000-iabc.box.example:8443": "proxy",
		"49983-iabc-x.BOX.example":   "proxy",
		"99999999-iabc.box.example":  "proxy", // which says what is wrong
		"sandbox.box.example":        "proxy",
		"box.example":                "404",
		"www.box.example":            "404",
		"iabc.box.example":           "404",
		"a.api.box.example":          "421",
		"3000-iabc.x.box.example":    "421",
		"evil.example":               "421",
		"3000-iabc.evil.example":     "421",
		"api.box.example.evil":       "421",
		"apibox.example":             "421",
		"127.0.0.1:443":              "421",
		"[::1]:443":                  "421",
		"":                           "421",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		// Routing headers do not change which role a name is of.
		r.Header.Set("E2b-Sandbox-Id", "iabc")
		r.Header.Set("E2b-Sandbox-Port", "3000")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		got, _, _ := strings.Cut(w.Body.String(), " ")
		if w.Code != 200 {
			got = fmt.Sprint(w.Code)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
	// A role that another process has.
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "api.box.example"
	(&Domain{Name: "box.example", Proxy: told("proxy")}).ServeHTTP(w, r)
	if w.Code != 404 {
		t.Errorf("the API of another process: %d", w.Code)
	}
}

// TestForwardedHeaders: only a trusted load balancer's word on the client is taken.
func TestForwardedHeaders(t *testing.T) {
	d := &Domain{Name: "box.example", API: told("api"), Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for name, c := range map[string]struct {
		from string
		tls  bool
		want string
	}{
		"a client by TLS":           {"192.0.2.9:1", true, "api 192.0.2.9 https api.box.example tls=true"},
		"a client that says things": {"192.0.2.9:1", false, "api 192.0.2.9 http api.box.example tls=false"},
		"a load balancer":           {"10.1.2.3:1", false, "api 198.51.100.7, 10.1.2.3 https public.example tls=true"},
		"one that begins TLS again": {"10.1.2.3:1", true, "api 198.51.100.7, 10.1.2.3 https public.example tls=true"},
		"as IPv6 writes it":         {"[::ffff:10.1.2.3]:1", false, "api 198.51.100.7, 10.1.2.3 https public.example tls=true"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.RemoteAddr = "api.box.example", c.from
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		for header, value := range map[string]string{"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "public.example"} {
			r.Header.Set(header, value)
		}
		r.Header.Set("Forwarded", "for=198.51.100.7")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if got := w.Body.String(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// secured serves a domain by TLS within bounds.
func secured(t *testing.T, w *waiting, d *Domain, all, each int) (addr string, client *tls.Config) {
	t.Helper()
	// The certificate of the library's own test server will do.
	library := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(library.Close)
	client = library.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com"
	server := d.NewServer(true, slog.New(slog.DiscardHandler))
	server.TLSConfig = &tls.Config{Certificates: library.TLS.Certificates}
	return served(t, w, server, all, each), client
}

// TestFloodsBeforeAnyRequest: connections that are silent, in the middle of a handshake, or
// set up for HTTP/2 without any request make room for others, before one that was used does.
func TestFloodsBeforeAnyRequest(t *testing.T) {
	d := &Domain{Name: "box.example", API: told("api")}
	d.API.ReadHeaderTimeout = time.Minute
	for name, flood := range map[string]func(conn net.Conn, client *tls.Config){
		"silent":            func(net.Conn, *tls.Config) {},
		"half a handshake":  func(conn net.Conn, _ *tls.Config) { _, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1}) },
		"after a handshake": func(conn net.Conn, client *tls.Config) { _ = tls.Client(conn, client).Handshake() },
		"set up for HTTP/2": func(conn net.Conn, client *tls.Config) {
			client = client.Clone()
			client.NextProtos = []string{"h2"}
			c := tls.Client(conn, client)
			// The preface and empty settings (RFC 9113, section 3.4).
			_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			_, _ = c.Read(make([]byte, 9)) // the server's settings: it has taken note
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr, client := secured(t, new(waiting), d, 8, 8)
			used := httpsClient(addr, client, true)
			if got := used(); got != 200 {
				t.Fatalf("no answer to begin with: %d", got)
			}
			for range 30 {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				flood(conn, client)
			}
			if got := used(); got != 200 {
				t.Errorf("a connection that was used before: %d", got)
			}
			if got := httpsClient(addr, client, false)(); got != 200 {
				t.Errorf("a new one: %d", got)
			}
		})
	}
}

// httpsClient makes requests; on one connection, which must not be replaced, if kept is set.
func httpsClient(addr string, settings *tls.Config, kept bool) func() int {
	dials := 0
	transport := &http.Transport{TLSClientConfig: settings.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: !kept}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		if dials++; kept && dials > 1 {
			return nil, net.ErrClosed
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	return func() int {
		resp, err := client.Get("https://api.box.example/")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
}

// TestHandshakeTime: a handshake that does not end is ended.
func TestHandshakeTime(t *testing.T) {
	d := &Domain{Name: "box.example", API: told("api")}
	d.API.ReadHeaderTimeout = 50 * time.Millisecond
	addr, _ := secured(t, new(waiting), d, 8, 8)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("it was not")
	}
}

// TestTimesOfRoles: the API's deadlines hold, and end with its request.
func TestTimesOfRoles(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, err == nil)
	})
	d := &Domain{Name: "box.example", API: &http.Server{Handler: slow, ReadTimeout: 100 * time.Millisecond},
		Proxy: &http.Server{Handler: slow}}
	server := httptest.NewServer(d)
	defer server.Close()
	ask := func(host string, pause time.Duration) string {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\na", host)
		time.Sleep(pause)
		fmt.Fprint(conn, "b")
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}
	if got := ask("api.box.example", 400*time.Millisecond); strings.HasSuffix(got, "true") {
		t.Errorf("the API waited for a body: %q", got)
	}
	if got := ask("80-iabc.box.example", 400*time.Millisecond); !strings.HasSuffix(got, "true") {
		t.Errorf("the proxy did not wait for a body: %q", got)
	}
}

// TestClientAddress: the api sees where a request came from, and nobody can make it see another
// address.
func TestClientAddress(t *testing.T) {
	d := &Domain{Name: "box.example", Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		API: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })}}
	for _, c := range []struct{ from, said, want string }{
		{"192.0.2.9:1", "", "192.0.2.9:1"},
		{"192.0.2.9:1", "198.51.100.7", "192.0.2.9:1"},
		{"10.1.2.3:1", "198.51.100.7", "198.51.100.7:0"},
		{"10.1.2.3:1", "203.0.113.5, 198.51.100.7, 10.9.9.9", "198.51.100.7:0"},
		{"10.1.2.3:1", "2001:db8::7", "[2001:db8::7]:0"},
		{"10.1.2.3:1", "", "10.1.2.3:1"},
		{"10.1.2.3:1", "nonsense", "10.1.2.3:1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host, r.RemoteAddr = "api.box.example", c.from
		if c.said != "" {
			r.Header.Set("X-Forwarded-For", c.said)
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		if got := w.Body.String(); got != c.want {
			t.Errorf("from %s, which says %q: %s, want %s", c.from, c.said, got, c.want)
		}
	}
}
