package greeting

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// clientHello is what Go's client says first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, cfg).Handshake()
		client.Close()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(server, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(server, body); err != nil {
		t.Fatal(err)
	}
	return append(head, body...)
}

// split spreads the message of one record over records of at most so many bytes.
func split(record []byte, most int) []byte {
	var out []byte
	for rest := record[5:]; len(rest) > 0; {
		n := min(most, len(rest))
		out = append(out, 22, 3, 1, byte(n>>8), byte(n))
		out = append(out, rest[:n]...)
		rest = rest[n:]
	}
	return out
}

func TestHello(t *testing.T) {
	data := clientHello(t, &tls.Config{ServerName: "Some.Test"})
	for _, most := range []int{1, 3, 100, 16384} {
		spread := split(data, most)
		for n := range len(spread) {
			if _, err := ParseHello(spread[:n]); !errors.Is(err, ErrMore) {
				t.Fatalf("%d of %d bytes by %d: %v", n, len(spread), most, err)
			}
		}
		if h, err := ParseHello(spread); err != nil || h.ServerName != "some.test" || h.Encrypted {
			t.Errorf("by %d: %+v, %v", most, h, err)
		}
	}
	if h, err := ParseHello(clientHello(t, &tls.Config{InsecureSkipVerify: true})); err != nil || h.ServerName != "" {
		t.Errorf("without a name: %+v, %v", h, err)
	}
}

func TestHead(t *testing.T) {
	for text, want := range map[string]Head{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\nrest":                             {Host: "a.test", Method: "GET", Size: 32},
		"GET http://a.test:8080/x HTTP/1.1\r\nHost: A.test:8080\r\n\r\n":         {Host: "a.test", Method: "GET", Size: 56},
		"POST / HTTP/1.1\r\nHost:a.test.\r\nContent-Length: 7\r\n\r\n":           {Host: "a.test", Method: "POST", Size: 52, Body: 7},
		"PUT / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: Chunked\r\n\r\n":   {Host: "a.test", Method: "PUT", Size: 60, Body: -1},
		"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nX: y z\r\n\r\n": {Host: "a.test", Method: "GET", Size: 60, Upgrade: true},
		"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n":                             {Host: "a.test", Method: "OPTIONS", Size: 36},
		"GET / HTTP/1.0\r\n\r\n":                                                 {Method: "GET", Size: 18},
	} {
		if h, err := ParseHead([]byte(text)); err != nil || h != want {
			t.Errorf("%q: %+v, %v, want %+v", text, h, err, want)
		}
	}
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\x00.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: 1.2.3.4\r\n\r\n", "GET / HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: 127.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test@b.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test/\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test b.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1, 1\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "\x16\x03\x01\x00\x05\x01",
	} {
		if h, err := ParseHead([]byte(text)); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %+v, %v", text, h, err)
		}
	}
	if _, err := ParseHead([]byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", MaxHead))); !errors.Is(err, ErrNone) {
		t.Errorf("a head without an end: %v", err)
	}
}

func TestBody(t *testing.T) {
	for text, want := range map[string]string{
		"5\r\nhello\r\n0\r\n\r\nnext":             "next",
		"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nnext": "next",
		"0\r\n\r\n": "",
	} {
		for step := 1; step <= len(text); step++ { // whatever the packets are
			b, rest := NewBody(Head{Body: -1}), []byte{}
			for at := 0; at < len(text); at += step {
				rest = append(rest, text[at:min(at+step, len(text))]...)
				if b.Done() {
					continue
				}
				n, err := b.Take(rest)
				if err != nil && !errors.Is(err, ErrMore) {
					t.Fatalf("%q by %d: %v", text, step, err)
				}
				rest = rest[n:]
			}
			if !b.Done() || string(rest) != want {
				t.Errorf("%q by %d: done = %v, left %q", text, step, b.Done(), rest)
			}
		}
	}
	for _, text := range []string{"+5\r\n", "0x5\r\n", "5 \r\n", "\r\n", "5\r\nhelloXX", "5\nhello", "ffffffffffffffff\r\n", "1_0\r\n",
		"5;\x00\r\n", strings.Repeat("0", maxChunkLine+2)} {
		if _, err := NewBody(Head{Body: -1}).Take([]byte(text)); !errors.Is(err, ErrNone) && !strings.HasPrefix(text, "5\nh") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	b := NewBody(Head{Body: 3})
	if n, err := b.Take([]byte("abcd")); n != 3 || err != nil || !b.Done() {
		t.Errorf("a length: %d, %v", n, err)
	}
}

// FuzzHello: what is read is what Go's server reads, at every length of what is there.
func FuzzHello(f *testing.F) {
	f.Add(clientHello(f, &tls.Config{ServerName: "a.test"}))
	f.Add(split(clientHello(f, &tls.Config{ServerName: "b.test", MaxVersion: tls.VersionTLS12}), 7))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := ParseHello(data)
		if err != nil {
			if errors.Is(err, ErrMore) && len(data) > 2*MaxHello {
				t.Error("more is asked for without end")
			}
			return
		}
		if h.ServerName == "" {
			return
		}
		name, read := serverReads(data)
		if read && strings.ToLower(strings.TrimSuffix(name, ".")) != h.ServerName {
			t.Errorf("Go's server reads %q, and we %q", name, h.ServerName)
		}
	})
}

// serverReads is the name that Go's server sees, if it takes the message.
func serverReads(data []byte) (name string, read bool) {
	cfg := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, read = h.ServerName, true
		return nil, io.EOF
	}}
	_ = tls.Server(&replay{Reader: bytes.NewReader(data)}, cfg).Handshake()
	return name, read
}

// replay is a connection that yields bytes and takes all.
type replay struct {
	*bytes.Reader
	net.Conn
}

func (r *replay) Read(p []byte) (int, error) { return r.Reader.Read(p) }
func (*replay) Write(p []byte) (int, error)  { return len(p), nil }

// FuzzHead: a request whose host and end are relied on is read the same by Go's server.
func FuzzHead(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
	f.Add([]byte("POST http://a.test/ HTTP/1.1\r\nHost: a.test:80\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n"))
	f.Add([]byte("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabcdef"))
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := ParseHead(data)
		if err != nil || head.Host == "" {
			return
		}
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return // it refuses more
		}
		host, ok := hostOf(request.Host)
		if !ok || host != head.Host {
			t.Fatalf("Go reads the host %q, and we %q", request.Host, head.Host)
		}
		ours := NewBody(head)
		n, bodyErr := ours.Take(data[head.Size:])
		got, err := io.ReadAll(request.Body)
		if err == nil && bodyErr == nil && !ours.Done() {
			t.Errorf("Go's server sees the end of the body after %d bytes, and we do not", len(got))
		}
		if ours.Done() && head.Body >= 0 && int64(len(got)) != head.Body || n > len(data)-head.Size {
			t.Errorf("the body has %d bytes, and %d for Go's server", head.Body, len(got))
		}
	})
}
