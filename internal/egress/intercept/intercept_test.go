package intercept_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"shoal/internal/egress/intercept"
	"shoal/internal/shoal"
)

// echo answers with what it was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_ = json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "uri": r.RequestURI, "host": r.Host,
		"proto": r.Proto, "header": r.Header, "trailer": r.Trailer, "body": string(body)})
}

type echoed struct {
	Method, URI, Host, Proto, Body string
	Header, Trailer                http.Header
}

func send(t *testing.T, c *http.Client, r *http.Request) (*http.Response, []byte) {
	t.Helper()
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, body []byte) echoed {
	t.Helper()
	var e echoed
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return e
}

func TestHeadersAreSetAndReplaced(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, http.HandlerFunc(echo), options{headers: map[string]string{
			"x-api-key": "k-${e2b.secrets.MyKey}-${e2b.identity.tokens.t}", "Authorization": "Bearer fixed"}})
		w.filler.set("mykey", "value", nil)
		w.filler.values[shoal.Placeholder{Kind: shoal.PlaceholderToken, Name: "t"}] = "jwt"
		r := request(t, "POST", w.url("/a%2Fb//c|d?q=1;2&%zz"), strings.NewReader("body"))
		r.URL.Opaque = "/a%2Fb//c|d" // as a client that does not tidy it
		r.Header["X-Api-Key"] = []string{"the guest's", "twice"}
		r.Header["X-API-KEY"] = []string{"spelled otherwise"}
		r.Header.Set("Authorization", "Basic guest")
		if !http2 {
			r.Header.Set("Connection", "X-Api-Key") // would have the next hop drop it
		}
		r.Header.Set("X-Forwarded-For", "1.2.3.4")
		_, body := send(t, w.client(http2), r)
		e := parse(t, body)
		if got := e.Header["X-Api-Key"]; len(got) != 1 || got[0] != "k-value-jwt" {
			t.Errorf("x-api-key is %q", got)
		}
		if got := e.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer fixed" {
			t.Errorf("authorization is %q", got)
		}
		if e.Header.Get("X-Forwarded-For") != "1.2.3.4" || e.Header.Get("User-Agent") != "Go-http-client/"+
			map[bool]string{false: "1.1", true: "2.0"}[http2] {
			t.Errorf("headers are %v", e.Header)
		}
		if e.URI != "/a%2Fb//c|d?q=1;2&%zz" || e.Host != w.host() || e.Body != "body" || e.Method != "POST" {
			t.Errorf("the request is %+v", e)
		}
		if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; e.Proto != want {
			t.Errorf("the server was spoken to by %s", e.Proto)
		}
		if w.filler.uses[0] != "isandbox *.example.com" {
			t.Errorf("the filler was asked for %q", w.filler.uses)
		}
	})
}

// TestProtocolIsTheServers: the guest is offered what the server has chosen.
func TestProtocolIsTheServers(t *testing.T) {
	for _, c := range []struct {
		server, guest []string
		want          string
	}{
		{nil, []string{"h2", "http/1.1"}, "h2"},
		{[]string{"http/1.1"}, []string{"h2", "http/1.1"}, "http/1.1"},
		{nil, []string{"http/1.1"}, "http/1.1"},
		{nil, nil, ""},
		{nil, []string{"h2"}, "h2"},
	} {
		w := newWorld(t, http.HandlerFunc(echo), options{protocols: c.server})
		if got := w.dial(c.guest...).ConnectionState().NegotiatedProtocol; got != c.want {
			t.Errorf("server %v, guest %v: %q, want %q", c.server, c.guest, got, c.want)
		}
	}
	w := newWorld(t, http.HandlerFunc(echo), options{})
	_, err := tls.Dial("tcp", w.between, &tls.Config{RootCAs: w.pool, ServerName: serverName, NextProtos: []string{"imap"}})
	if err == nil {
		t.Error("a connection for IMAP was taken")
	}
	if err := <-w.results; !shoal.ErrTransformProtocol.Matches(err) {
		t.Errorf("the failure is %v", err)
	}
}

// TestOtherHostsAreRefused: a connection's name is what its requests are held to.
func TestOtherHostsAreRefused(t *testing.T) {
	eachProtocol(t, func(t *testing.T, http2 bool) {
		reached := make(chan string, 10)
		w := newWorld(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Host }),
			options{headers: map[string]string{"X-Key": "${e2b.secrets.k}"}})
		w.filler.set("k", "secret", nil)
		for _, host := range []string{"other.example.com", "example.com", serverName + ".evil.com", "127.0.0.1",
			serverName + ":1"} {
			r := request(t, "GET", w.url("/"), nil)
			r.Host = host
			answer, body := send(t, w.client(http2), r)
			if answer.StatusCode != http.StatusMisdirectedRequest && answer.StatusCode != http.StatusBadRequest ||
				answer.StatusCode == 421 && !strings.Contains(string(body), `"transform.misdirected"`) {
				t.Errorf("%s: %d %s", host, answer.StatusCode, body)
			}
		}
		for _, host := range []string{serverName, strings.ToUpper(serverName), serverName + ".", w.host()} {
			r := request(t, "GET", w.url("/"), nil)
			r.Host = host
			if answer, body := send(t, w.client(http2), r); answer.StatusCode != 200 || <-reached != host {
				t.Errorf("%s: %d %s", host, answer.StatusCode, body)
			}
		}
		if len(reached) != 0 || w.filler.asked != 1 {
			t.Errorf("%d requests reached the server, the filler was asked %d times", len(reached), w.filler.asked)
		}
	})
}

// TestAbsoluteTargetsAreHosts: of a request with a whole URL, that is what counts.
func TestAbsoluteTargetsAreHosts(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), options{protocols: []string{"http/1.1"}})
	for target, want := range map[string]string{
		"https://other.example.com/": "421", "https://" + serverName + "/": "200", "/": "200"} {
		conn := w.dial()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, serverName)
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("%s: %s", target, answer)
		}
	}
}

func TestTunnelsAndTraceAreRefused(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), options{headers: map[string]string{"X-Key": "v"}})
	for _, method := range []string{"TRACE", "CONNECT"} {
		conn := w.dial()
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method,
			map[string]string{"TRACE": "/", "CONNECT": w.host()}[method], w.host())
		answer, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 405") || !strings.Contains(string(answer), "transform.method") {
			t.Errorf("%s: %s", method, answer)
		}
	}
}

// TestFillFailuresAreNamed: without the values nothing is sent, and they appear nowhere.
func TestFillFailuresAreNamed(t *testing.T) {
	reached := make(chan struct{}, 10)
	var log bytes.Buffer
	w := newWorld(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }),
		options{headers: map[string]string{"X-Key": "${e2b.secrets.k}"}, log: slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})})
	for name, set := range map[string]func(){
		"no value":   func() { delete(w.filler.values, shoal.Placeholder{Kind: shoal.PlaceholderSecret, Name: "k"}) },
		"an error":   func() { w.filler.set("k", "", errors.New("s3cret at 10.0.0.1")) },
		"line break": func() { w.filler.set("k", "s3cret\r\nX-Other: 1", nil) },
	} {
		set()
		answer, body := send(t, w.client(true), request(t, "GET", w.url("/"), nil))
		if answer.StatusCode != 502 || !strings.Contains(string(body), `"error_code":"transform.fill"`) ||
			strings.Contains(string(body), "s3cret") || strings.Contains(string(body), "10.0.0.1") {
			t.Errorf("%s: %d %s", name, answer.StatusCode, body)
		}
	}
	w.filler.set("k", "", shoal.ErrBadRequest.New("Secret k was deleted"))
	if _, body := send(t, w.client(false), request(t, "GET", w.url("/"), nil)); !strings.Contains(string(body), "Secret k was deleted") {
		// The line break's value may still be kept for this use.
		if !strings.Contains(string(body), "X-Key is none that") {
			t.Errorf("what the filler says is not passed on: %s", body)
		}
	}
	if len(reached) != 0 {
		t.Errorf("%d requests reached the server", len(reached))
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Error("a value is in the log")
	}
}

// TestServersAreVerified: the values go to nobody else.
func TestServersAreVerified(t *testing.T) {
	for name, o := range map[string]options{
		"it has expired":     {expired: true},
		"for other names":    {names: []string{"other.example.com"}},
		"unknown authority":  {untrusted: true},
		"wildcard too short": {names: []string{"*.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, http2 bool) {
				o.headers = map[string]string{"X-Key": "${e2b.secrets.k}"}
				w := newWorld(t, http.HandlerFunc(echo), o)
				w.filler.set("k", "secret", nil)
				c := w.client(http2)
				answer, body := send(t, c, request(t, "GET", w.url("/"), nil))
				if answer.StatusCode != 502 || !strings.Contains(string(body), "transform.certificate") {
					t.Errorf("%d %s", answer.StatusCode, body)
				}
				c.CloseIdleConnections()
				if err := <-w.results; !shoal.ErrTransformCertificate.Matches(err) {
					t.Errorf("the failure is %v", err)
				}
				if w.filler.asked != 0 {
					t.Error("the values were asked for")
				}
			})
		})
	}
}

// TestUnreachableServers end the connection, as they would without a transform.
func TestUnreachableServers(t *testing.T) {
	w := newWorld(t, nil, options{dial: func() (net.Conn, error) { return nil, errors.New("refused by policy") }})
	if _, err := w.client(true).Get(w.url("/")); err == nil {
		t.Error("there was an answer")
	}
	if err := <-w.results; !shoal.ErrTransformServer.Matches(err) {
		t.Errorf("the failure is %v", err)
	}
}

// TestDistrustIsNamed: a client that does not accept the certificate says so by an alert.
func TestDistrustIsNamed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t, http.HandlerFunc(echo), options{})
		_, err := tls.Dial("tcp", w.between, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: serverName,
			MinVersion: version, MaxVersion: version})
		if err == nil {
			t.Fatal("the certificate was accepted")
		}
		if err := <-w.results; !shoal.ErrTransformPinned.Matches(err) {
			t.Errorf("the failure is %v", err)
		}
	}
}

// TestSniffedNameCounts: a hello with another name than was sniffed is not answered.
func TestSniffedNameCounts(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), options{})
	for _, name := range []string{"other.example.com", "127.0.0.1"} {
		_, err := tls.Dial("tcp", w.between, &tls.Config{InsecureSkipVerify: true, ServerName: name}) //nolint:gosec // must fail before
		if err == nil {
			t.Errorf("%s was answered", name)
		}
		if err := <-w.results; !shoal.ErrTransformMisdirected.Matches(err) {
			t.Errorf("the failure is %v", err)
		}
	}
}

// TestValuesAreKeptForAMoment: not every request asks, but other uses do.
func TestValuesAreKeptForAMoment(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(echo), options{headers: map[string]string{"X-Key": "${e2b.secrets.k}"}})
	w.filler.set("k", "1", nil)
	for range 5 {
		_, body := send(t, w.client(true), request(t, "GET", w.url("/"), nil))
		if parse(t, body).Header.Get("X-Key") != "1" {
			t.Errorf("%s", body)
		}
	}
	if w.filler.asked != 1 {
		t.Errorf("the filler was asked %d times", w.filler.asked)
	}
}

// TestServeEndsWithItsContext: and leaves nothing behind that the test's end would wait for.
func TestServeEndsWithItsContext(t *testing.T) {
	guest, ours := net.Pipe()
	defer guest.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	authority, err := intercept.NewAuthority("i", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		done <- intercept.New(nil, nil, slog.New(slog.DiscardHandler)).Serve(ctx, ours,
			intercept.Connection{ServerName: serverName, Authority: authority})
	}()
	cancel()
	if err := <-done; err == nil {
		t.Error("it ended without an error")
	}
}
