package intercept_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/certificate/certificatetest"
	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

const serverName = "api.example.com"

// world is a server, a machine between, and what a guest knows.
type world struct {
	t         testing.TB
	authority *intercept.Authority
	pool      *x509.CertPool // that the guest trusts
	roots     *x509.CertPool // by which the server is verified
	port      uint16         // of the server
	server    string         // its address
	between   string         // the address of the interceptor
	filler    *filler
	results   chan error // of Serve, in the order of the connections' ends
}

// filler knows values by placeholder, and counts how often it is asked.
type filler struct {
	mu     sync.Mutex
	values map[shoal.Placeholder]string
	err    error
	asked  int
	uses   []string
}

func (f *filler) Fill(
	_ context.Context, sandboxID, domain string, wanted []shoal.Placeholder,
) (map[shoal.Placeholder]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	f.uses = append(f.uses, sandboxID+" "+domain)
	if f.err != nil {
		return nil, f.err
	}
	given := map[shoal.Placeholder]string{}
	for _, p := range wanted {
		if value, ok := f.values[p]; ok {
			given[p] = value
		}
	}
	return given, nil
}

func (f *filler) set(name, value string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: name}], f.err = value, err
}

// options are how a world differs from others.
type options struct {
	headers   map[string]string
	protocols []string                 // of the server; nil is both
	expired   bool                     // is the server's certificate
	names     []string                 // in it; nil is serverName
	untrusted bool                     // is its authority
	raw       func(net.Conn)           // serves connections in place of a handler
	log       slog.Handler             // nil is nowhere
	dial      func() (net.Conn, error) // in place of one to the server
}

func newWorld(t testing.TB, handler http.Handler, o options) *world {
	t.Helper()
	w := &world{t: t, filler: &filler{values: map[shoal.Placeholder]string{}}, results: make(chan error, 1000)}
	cert, roots := serverCertificate(t, o)
	w.roots = roots
	if o.protocols == nil {
		o.protocols = []string{"h2", "http/1.1"}
	}
	ln := listen(t)
	w.server, w.port = ln.Addr().String(), uint16(ln.Addr().(*net.TCPAddr).Port)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: o.protocols}
	if o.raw != nil {
		serveRaw(t, tls.NewListener(ln, conf), o.raw)
	} else {
		server := &http.Server{Handler: handler, TLSConfig: conf, DisableGeneralOptionsHandler: true,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		if len(o.protocols) == 1 && o.protocols[0] == "http/1.1" {
			server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}
		var group sync.WaitGroup
		group.Go(func() { _ = server.ServeTLS(ln, "", "") })
		t.Cleanup(func() { server.Close(); group.Wait() })
	}

	var err error
	if w.authority, err = intercept.NewAuthority("isandbox", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.pool = x509.NewCertPool()
	w.pool.AppendCertsFromPEM(w.authority.Certificate())
	if o.log == nil {
		o.log = slog.DiscardHandler
	}
	between := intercept.New(w.filler, roots, slog.New(o.log))
	middle := listen(t)
	w.between = middle.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	serve(t, middle, cancel, func(conn net.Conn) {
		w.results <- between.Serve(ctx, conn, intercept.Connection{SandboxID: "isandbox", ServerName: serverName,
			Domain: "*.example.com", Port: w.port, Transform: shoal.Transform{Headers: o.headers},
			Authority: w.authority, Dial: func(ctx context.Context) (net.Conn, error) {
				if o.dial != nil {
					return o.dial()
				}
				var d net.Dialer
				return d.DialContext(ctx, "tcp", w.server)
			}})
	})
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve serves connections until the test ends, and then waits for all of them.
func serve(t testing.TB, ln net.Listener, end func(), one func(net.Conn)) {
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() { one(conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); end(); group.Wait() })
}

func serveRaw(t testing.TB, ln net.Listener, one func(net.Conn)) {
	serve(t, ln, func() {}, func(conn net.Conn) {
		defer conn.Close()
		one(conn)
	})
}

// serverCertificate makes the server's certificate and the pool of who signed it.
func serverCertificate(t testing.TB, o options) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	authority, err := certificatetest.New()
	if err != nil {
		t.Fatal(err)
	}
	names, end := []string{serverName}, time.Now().Add(time.Hour)
	if o.expired {
		end = time.Now().Add(-time.Hour)
	}
	if o.names != nil {
		names = o.names
	}
	certificate, err := authority.IssueUntil(end, names...)
	if err != nil {
		t.Fatal(err)
	}
	if o.untrusted {
		return certificate, x509.NewCertPool()
	}
	return certificate, authority.Roots()
}

// client is a guest's; each has connections of its own. Without HTTP/2 it asks for HTTP/1.1 by ALPN.
func (w *world) client(http2 bool) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", w.between)
		},
		TLSClientConfig:       &tls.Config{RootCAs: w.pool, ServerName: serverName},
		Protocols:             new(http.Protocols),
		DisableCompression:    true,
		ExpectContinueTimeout: 10 * time.Second,
	}
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// dial is a guest's own TLS connection.
func (w *world) dial(protocols ...string) *tls.Conn {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.between, &tls.Config{RootCAs: w.pool, ServerName: serverName, NextProtos: protocols})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// url is one of the server's, as a guest writes it.
func (w *world) url(path string) string {
	_, port, _ := net.SplitHostPort(w.server)
	return "https://" + serverName + ":" + port + path
}

// host is the value of the Host header.
func (w *world) host() string { return strings.TrimPrefix(w.url(""), "https://") }

func eachProtocol(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Run("HTTP1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP2", func(t *testing.T) { test(t, true) })
}
