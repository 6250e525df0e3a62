package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestQueryIsUntouched: queries reach the guest unchanged, even those that Go cannot parse.
func TestQueryIsUntouched(t *testing.T) {
	front, _, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.RawQuery)
	}), Target{})
	for _, query := range []string{"a=1;b=2", "x=%zz&y=1", "flag&=&b=%2F+%20", "z=2&a=1"} {
		body, _ := io.ReadAll(request(t, front, "GET", port+"-"+testID+".test", "/?"+query, nil, nil).Body)
		if string(body) != query {
			t.Errorf("%q became %q", query, body)
		}
	}
}

// TestLateRequestAfterForget: a request that found the sandbox just before its end must not
// reach the next one at that address.
func TestLateRequestAfterForget(t *testing.T) {
	var served atomic.Int32
	front, h, port := guest(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }),
		Target{ExecutionID: "ended"})
	h.Forget("ended") // this resolver still finds it, as if asked just before
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 502 || body["message"] != "The sandbox was not found" || served.Load() != 0 {
		t.Errorf("%d %v, %d requests served", resp.StatusCode, body, served.Load())
	}
}

// moving resolves a sandbox to one execution after the other.
type moving struct {
	fixed
	mu   sync.Mutex
	runs []Target
}

func (m *moving) Resolve(ctx context.Context, r Request) (Target, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.target = m.runs[0]
	if len(m.runs) > 1 {
		m.runs = m.runs[1:]
	}
	return m.fixed.Resolve(ctx, r)
}

// TestPausedAsItCame: a request whose execution ended before anything was sent reaches the
// next one, with its body.
func TestPausedAsItCame(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(backend.Close)
	address := netip.MustParseAddr("127.0.0.1")
	for _, path := range []string{"/", "/files?path=x"} {
		resolver := &moving{runs: []Target{{ExecutionID: "first", Host: address},
			{ExecutionID: "second", Host: address}}}
		h := New(resolver, quiet())
		h.Forget("first")
		front := httptest.NewServer(h)
		t.Cleanup(front.Close)
		host := strconv.Itoa(backend.Listener.Addr().(*net.TCPAddr).Port) + "-" + testID + ".test"
		resp := request(t, front, "POST", host, path, nil, strings.NewReader("the body"))
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(body) != "the body" || len(resolver.asked) != 2 {
			t.Errorf("%s: %d %q %v, asked %d times", path, resp.StatusCode, body, err, len(resolver.asked))
		}
	}
}

// TestCutRequestAsksPassively: a request that a pause cut off must not wake the sandbox
// again.
func TestCutRequestAsksPassively(t *testing.T) {
	entered := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	t.Cleanup(backend.Close)
	resolver := &fixed{target: Target{ExecutionID: "paused", Host: netip.MustParseAddr("127.0.0.1")}}
	h := New(resolver, quiet())
	front := httptest.NewServer(h)
	t.Cleanup(front.Close)
	go func() {
		<-entered
		h.Forget("paused")
	}()
	resp := request(t, front, "GET",
		strconv.Itoa(backend.Listener.Addr().(*net.TCPAddr).Port)+"-"+testID+".test", "/", nil, nil)
	if resp.StatusCode != 502 || len(resolver.asked) != 2 || resolver.asked[0].Passive ||
		!resolver.asked[1].Passive {
		t.Errorf("%d, asked %+v", resp.StatusCode, resolver.asked)
	}
}

func TestForgottenAreBounded(t *testing.T) {
	u := newUpstream(1)
	for i := range 2 * endedKept {
		u.forget(fmt.Sprint(i))
		u.forget(fmt.Sprint(i))
	}
	if len(u.ended) != endedKept || len(u.oldest) != endedKept || u.of(fmt.Sprint(2*endedKept-1)) != nil ||
		u.of("0") == nil {
		t.Errorf("%d ended and %d in order are kept, want %d", len(u.ended), len(u.oldest), endedKept)
	}
}

// TestHalfClose: a client that has closed its sending side still gets the answer.
func TestHalfClose(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n")
		said, _ := io.ReadAll(buf)
		fmt.Fprintf(conn, "you said %s", said)
	})
	front, _, port := guest(t, handler, Target{})
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s-%s.test\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n",
		port, testID)
	reader := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(reader, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "all")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(reader); err != nil || string(got) != "you said all" {
		t.Errorf("%q %v", got, err)
	}
}

// TestUploadStreams: the guest sees the first chunk of a body before the client has sent
// the last, and the client sees the guest's answer to it.
func TestUploadStreams(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, strings.ToUpper(lines.Text()))
			_ = rc.Flush()
		}
	})
	front, _, port := guest(t, handler, Target{})
	body, feed := io.Pipe()
	defer feed.Close()
	go fmt.Fprintln(feed, "one")
	answers := make(chan string)
	go func() {
		defer close(answers)
		req, _ := http.NewRequest("POST", front.URL, body)
		req.Host = port + "-" + testID + ".test"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			answers <- lines.Text()
		}
	}()
	for i, want := range []string{"ONE", "TWO"} {
		select {
		case got := <-answers:
			if got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no answer to line %d while the body is open", i+1)
		}
		if i == 0 {
			fmt.Fprintln(feed, "two")
		}
	}
	feed.Close()
	for range answers {
	}
}

// BenchmarkStream compares 100 MB through the proxy with the same without a proxy.
func BenchmarkStream(b *testing.B) {
	const size = 100 << 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, zeros{}, size)
		}
	})
	backend := httptest.NewServer(handler)
	defer backend.Close()
	address := backend.Listener.Addr().(*net.TCPAddr)
	target := Target{ExecutionID: "e", Host: address.AddrPort().Addr()}
	front := httptest.NewServer(New(&fixed{target: target}, quiet()))
	defer front.Close()
	host := fmt.Sprintf("%d-%s.test", address.Port, testID)
	for _, way := range []struct{ name, url string }{{"direct", backend.URL}, {"proxied", front.URL}} {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			b.Run(way.name+"/"+method, func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					var body io.Reader
					if method == http.MethodPut {
						body = io.LimitReader(zeros{}, size)
					}
					req, _ := http.NewRequest(method, way.url, body)
					req.Host = host
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
	}
}

// TestBadBodyIsTheClients: a malformed chunk is not blamed on the sandbox.
func TestBadBodyIsTheClients(t *testing.T) {
	front, _, port := guest(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}), Target{})
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: %s-%s.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nzzz\r\n",
		port, testID)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 400" {
		t.Errorf("%q, %v", answer, err)
	}
}
