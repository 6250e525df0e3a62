package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"shoal/internal/freeport"
	"shoal/internal/shoal"
)

const testID = "iabcdefghij0123456789"

// fixed resolves one sandbox.
type fixed struct {
	target Target
	err    error
	signed string
	looked int // for signers
	asked  []Request
}

func (f *fixed) Resolve(_ context.Context, r Request) (Target, error) {
	f.asked = append(f.asked, r)
	if f.err != nil {
		return Target{}, f.err
	}
	if r.SandboxID != testID {
		return Target{}, shoal.NotFound(r.SandboxID)
	}
	return f.target, nil
}

func (f *fixed) ResolveSigned(_ context.Context, _ netip.Addr, _ string, q url.Values) (string, error) {
	f.looked++
	if f.signed != "" && q.Get("signature") == f.signed {
		return testID, nil
	}
	return "", shoal.NotFound("")
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// guest serves handler as the sandbox's only port and returns the proxy and port.
func guest(t *testing.T, handler http.Handler, target Target) (*httptest.Server, *Handler, string) {
	t.Helper()
	backend := httptest.NewServer(handler)
	t.Cleanup(backend.Close)
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	target.Host = netip.MustParseAddr("127.0.0.1")
	if target.ExecutionID == "" {
		target.ExecutionID = "execution"
	}
	h := New(&fixed{target: target}, quiet())
	front := httptest.NewServer(h)
	t.Cleanup(front.Close)
	return front, h, strconv.Itoa(port)
}

func request(t *testing.T, front *httptest.Server, method, host, path string, header http.Header,
	body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, front.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestForwardsAsSent(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s xff=%q fwd=%q enc=%q body=%s", r.Method, r.URL.RequestURI(), r.Host,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"),
			r.Header.Get("Accept-Encoding"), body)
	})
	front, _, port := guest(t, echo, Target{})
	host := port + "-" + testID + ".test"
	resp := request(t, front, "POST", host, "/a%2Fb?q=1&q=2", http.Header{"Accept-Encoding": {"identity"}},
		strings.NewReader("payload"))
	body, _ := io.ReadAll(resp.Body)
	want := "POST /a%2Fb?q=1&q=2 host=" + host + ` xff="" fwd="" enc="identity" body=payload`
	if string(body) != want {
		t.Errorf("guest saw  %s\nwant       %s", body, want)
	}
}

func TestMaskedHost(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, " ", r.Header.Get("X-Forwarded-Host"))
	})
	front, _, port := guest(t, echo, Target{MaskRequestHost: "masked.example:${PORT}"})
	host := port + "-" + testID + ".test"
	body, _ := io.ReadAll(request(t, front, "GET", host, "/", nil, nil).Body)
	if want := "masked.example:" + port + " " + host; string(body) != want {
		t.Errorf("got %q, want %q", body, want)
	}
}

func TestHTTPSPort(t *testing.T) {
	backend := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "secret")
	}))
	defer backend.Close()
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1"),
		HTTPSPorts: []int{port}}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	body, _ := io.ReadAll(request(t, front, "GET", fmt.Sprintf("%d-%s.test", port, testID), "/",
		nil, nil).Body)
	if string(body) != "secret" {
		t.Errorf("got %q", body)
	}
}

func TestStreamsAtOnce(t *testing.T) {
	next := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-next: // the client has read this chunk
			case <-r.Context().Done():
				return
			}
		}
	})
	front, _, port := guest(t, handler, Target{})
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("part %d\n", i) {
			t.Fatalf("part %d: %q %v", i, line, err)
		}
		next <- struct{}{}
	}
}

func TestLargeBodiesNeedLittleMemory(t *testing.T) {
	const size = 100 << 20
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Received", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, size)
	})
	front, _, port := guest(t, handler, Target{})
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	resp := request(t, front, "PUT", port+"-"+testID+".test", "/", nil, io.LimitReader(zeros{}, size))
	n, err := io.Copy(io.Discard, resp.Body)
	runtime.ReadMemStats(&during)
	if err != nil || n != size || resp.Header.Get("X-Received") != strconv.Itoa(size) {
		t.Errorf("down %d, up %s, %v", n, resp.Header.Get("X-Received"), err)
	}
	if grown := int64(during.HeapInuse) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUpgrade(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(conn, buf)
	})
	front, _, port := guest(t, handler, Target{})
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s-%s.test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
		port, testID)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(reader, got); err != nil || string(got) != "ping" {
		t.Errorf("%q %v", got, err)
	}
}

// TestForgetResets: an open stream ends at once, with an error.
func TestForgetResets(t *testing.T) {
	started := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun")
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	front, h, port := guest(t, handler, Target{ExecutionID: "ends"})
	resp := request(t, front, "GET", port+"-"+testID+".test", "/", nil, nil)
	<-started
	h.Forget("ends")
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(resp.Body)
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("the stream ended as if it were complete")
		}
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on")
	}
}

// TestLateListener: a port that opens during the retries is reached.
func TestLateListener(t *testing.T) {
	port := freeport.Of(t)
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "late")
	})}
	defer server.Close()
	time.AfterFunc(150*time.Millisecond, func() {
		if l, err := net.Listen("tcp", freeport.Address(port)); err == nil {
			_ = server.Serve(l)
		}
	})
	body, _ := io.ReadAll(request(t, front, "GET", fmt.Sprintf("%d-%s.test", port, testID), "/",
		nil, nil).Body)
	if string(body) != "late" {
		t.Errorf("got %q", body)
	}
}

// TestCleartextHTTP2: the Python SDK speaks HTTP/2 to plain http addresses.
func TestCleartextHTTP2(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto)
	}))
	defer backend.Close()
	port := backend.Listener.Addr().(*net.TCPAddr).Port
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.1")}}, quiet())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(h)
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	req, _ := http.NewRequest("GET", "http://"+listener.Addr().String()+"/", nil)
	req.Host = fmt.Sprintf("%d-%s.test", port, testID)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.ProtoMajor != 2 || string(body) != "HTTP/1.1" {
		t.Errorf("front %s, guest %s", resp.Proto, body)
	}
}
