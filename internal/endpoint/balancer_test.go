package endpoint

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// plainly serves a domain without TLS until the test ends.
func plainly(t *testing.T, d *Domain) (addr string) {
	t.Helper()
	return served(t, new(waiting), d.NewServer(false, slog.New(slog.DiscardHandler)), 8, 8)
}

// TestBehindLoadBalancer puts something that ends TLS before the domain: roles see the client's
// scheme, and connections that are taken over, such as WebSockets, go through.
func TestBehindLoadBalancer(t *testing.T) {
	echo := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, rw)
	})}
	d := &Domain{Name: "box.example", API: told("api"), Proxy: echo, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	addr := plainly(t, d)
	behind := &url.URL{Scheme: "http", Host: addr}
	balancer := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(behind)
		p.Out.Host = p.In.Host
		p.SetXForwarded()
	}})
	defer balancer.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", balancer.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.box.example"
	resp, err := balancer.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if got := string(body); got != "api 127.0.0.1, 127.0.0.1 https api.box.example tls=true" {
		t.Errorf("the API sees %q", got)
	}

	conn, err := tls.Dial("tcp", strings.TrimPrefix(balancer.URL, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: 80-iabc.box.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	reader := bufio.NewReader(conn)
	upgraded, err := http.ReadResponse(reader, nil)
	if err != nil || upgraded.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", upgraded, err)
	}
	fmt.Fprint(conn, "line\n")
	if line, err := reader.ReadString('\n'); line != "line\n" {
		t.Errorf("%q %v", line, err)
	}
}

// TestBothVersions: a load balancer may speak HTTP/1.1 or HTTP/2, without TLS.
func TestBothVersions(t *testing.T) {
	d := &Domain{Name: "box.example", API: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto)
	})}}
	addr := plainly(t, d)
	for want, second := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!second)
		protocols.SetUnencryptedHTTP2(second)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "api.box.example"
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections()
		if string(body) != want {
			t.Errorf("%s, want %s", body, want)
		}
	}
}
