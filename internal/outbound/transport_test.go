package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"shoal/internal/shoal"
)

// client returns a client that is not limited but by its transport.
func client(t *testing.T, cfg Config) *http.Client {
	t.Helper()
	transport, err := NewTransport(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: transport}
}

// serve starts a server on loopback. It returns its HOST:PORT, and how many connections it
// has seen.
func serve(t *testing.T, h http.HandlerFunc) (string, *atomic.Int32) {
	t.Helper()
	connections := new(atomic.Int32)
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), connections
}

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// TestRefusedBeforeConnecting: an internal destination sees no connection, whether it is
// asked for or a redirect leads there, and the error does not tell where the name led.
func TestRefusedBeforeConnecting(t *testing.T) {
	inner, seen := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "secret") })
	outer, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+inner+"/", http.StatusTemporaryRedirect)
	})
	c := client(t, Config{Allow: []string{outer}})
	_, port, _ := net.SplitHostPort(inner)
	for _, url := range []string{"http://" + inner, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port,
		"http://0.0.0.0:" + port, "http://" + outer} {
		_, err := get(t, c, url)
		if !shoal.ErrOutboundRefused.Matches(err) {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if text := shoal.AsError(err).Error(); strings.Contains(text, "127.0.0.1") || strings.Contains(text, port) {
			t.Errorf("%s: the error tells %q", url, text)
		}
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the internal server has seen %d connections", n)
	}
	if body, err := get(t, client(t, Config{Allow: []string{"127.0.0.0/8"}}), "http://"+outer); err != nil || body != "secret" {
		t.Errorf("allowed by the operator: %q %v", body, err)
	}
}

// TestRebinding: a name that is public when it is looked up first and internal then gains
// nothing, and neither does one that is both at once.
func TestRebinding(t *testing.T) {
	inner, seen := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(inner)
	var lookups atomic.Int32
	resolver := resolverOf(t, func(name string) []string {
		if name == "both.example." {
			return []string{"127.0.0.1", "::1"}
		}
		if lookups.Add(1) == 1 {
			return []string{"240.0.0.1"} // nobody's
		}
		return []string{"127.0.0.1"}
	})
	c := client(t, Config{Resolver: resolver, Allow: []string{"240.0.0.1"}})
	if _, err := get(t, c, "http://rebind.example:"+port); err == nil || shoal.ErrOutboundRefused.Matches(err) {
		t.Errorf("the first address: %v", err)
	}
	for _, name := range []string{"rebind.example", "both.example"} {
		if _, err := get(t, c, "http://"+name+":"+port); !shoal.ErrOutboundRefused.Matches(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the internal server has seen %d connections", n)
	}
	allowed := client(t, Config{Resolver: resolver, Allow: []string{"both.example:" + port}})
	if _, err := get(t, allowed, "http://both.example:"+port); err != nil {
		t.Errorf("a name that the operator allows: %v", err)
	}
}

// resolverOf starts a DNS server with the given answers.
func resolverOf(t *testing.T, addresses func(name string) []string) *net.Resolver {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		answer.RecursionAvailable = true
		if q.Question[0].Qtype == dns.TypeA {
			for _, text := range addresses(q.Question[0].Name) {
				if netip.MustParseAddr(text).Is4() {
					rr, _ := dns.NewRR(q.Question[0].Name + " 0 IN A " + text)
					answer.Answer = append(answer.Answer, rr)
				}
			}
		}
		_ = w.WriteMsg(answer)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", packets.LocalAddr().String())
	}}
}

// TestBounds: an answer's head, its body and a chain of redirects end somewhere.
func TestBounds(t *testing.T) {
	server, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop?"+r.URL.RawQuery+"x", http.StatusFound)
		case "/head":
			w.Header().Set("X", strings.Repeat("x", maxHeaders))
		case "/body":
			_, _ = w.Write(make([]byte, defaultBody+1))
		case "/fits":
			_, _ = w.Write(make([]byte, defaultBody))
		}
	})
	c := client(t, Config{Allow: []string{server}})
	for path, want := range map[string]string{"/loop": "redirects too often", "/head": "not understood", "/body": "too large", "/fits": ""} {
		_, err := get(t, c, "http://"+server+path)
		var failed *Failure
		if want == "" && err != nil || want != "" && (!errors.As(err, &failed) || !strings.Contains(failed.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	r, err := http.NewRequestWithContext(WithBodyLimit(t.Context(), defaultBody+1), http.MethodGet, "http://"+server+"/body", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); n != defaultBody+1 || err != nil {
		t.Errorf("a wider limit: %d bytes, %v", n, err)
	}
}

// TestProxy: the environment's proxies are ignored unless the operator says otherwise. A
// proxy may be anywhere and gets names, but none that are internal by themselves.
func TestProxy(t *testing.T) {
	proxy, seen := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "by proxy: "+r.URL.Host) })
	t.Setenv("http_proxy", "http://"+proxy)
	t.Setenv("no_proxy", "")
	unknown := resolverOf(t, func(string) []string { return nil })
	if _, err := get(t, client(t, Config{Resolver: unknown}), "http://a.example/"); err == nil || seen.Load() != 0 {
		t.Errorf("without the setting: %v, the proxy has seen %d connections", err, seen.Load())
	}
	for _, setting := range []string{FromEnvironment, "http://" + proxy} {
		c := client(t, Config{Proxy: setting, Resolver: unknown})
		if body, err := get(t, c, "http://a.example/"); err != nil || body != "by proxy: a.example" {
			t.Errorf("%s: %q %v", setting, body, err)
		}
		before := seen.Load()
		for _, host := range []string{"127.0.0.1", "[::1]", "10.0.0.1", "169.254.169.254", "localhost", "127.1", "0x7f000001", "metadata.google.internal"} {
			if _, err := get(t, c, "http://"+host+"/"); !shoal.ErrOutboundRefused.Matches(err) {
				if setting == FromEnvironment && host == "127.1" { // not resolved, and so not reached
					continue
				}
				t.Errorf("%s: %s: %v", setting, host, err)
			}
		}
		if seen.Load() != before {
			t.Errorf("%s: the proxy was asked for an internal address", setting)
		}
	}
	for _, bad := range []string{"proxy.example", "ftp://a", "http://", "yes"} {
		if _, err := ParseProxy(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestFailureQuotesNothing: what tenants read of a failure has no address, name or answer.
func TestFailureQuotesNothing(t *testing.T) {
	garbage := listen(t)
	go func() {
		for {
			c, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "-ERR secret-word\r\n\r\n")
			c.Close()
		}
	}()
	gone := listen(t)
	gone.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	c := client(t, Config{Allow: []string{"127.0.0.0/8"}, Resolver: resolverOf(t, func(string) []string { return nil })})
	for address, want := range map[string]string{
		"http://" + gone.Addr().String():    "it does not accept connections",
		"http://" + garbage.Addr().String(): "its answer is not understood",
		secure.URL:                          "its certificate is not trusted; the operator adds authorities by --trust-ca",
		"http://unknown.example":            "its name is not known",
	} {
		_, err := get(t, c, address)
		var failed *Failure
		if !errors.As(err, &failed) || failed.Error() != want {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}
