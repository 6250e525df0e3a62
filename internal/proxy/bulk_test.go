package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestBulkDownloadDoesNotStall: a file arrives completely, and its last bytes as soon as
// they are sent, although the host's kernel was told to wait for more. Afterwards the connection
// delivers small answers at once.
func TestBulkDownloadDoesNotStall(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.9:49983")
	if err != nil {
		t.Skipf("the daemon's port is taken here: %v", err)
	}
	const size, tail = 12 << 20, 100
	release := make(chan struct{})
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/files" {
			_, _ = io.WriteString(w, "small")
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(bytes.Repeat([]byte("x"), size-tail))
		w.(http.Flusher).Flush()
		<-release
		_, _ = w.Write(bytes.Repeat([]byte("y"), tail))
	})}
	go func() { _ = backend.Serve(listener) }()
	defer backend.Close()
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.9")}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	host := "49983-" + testID + ".test"
	for range 2 {
		resp := request(t, front, "GET", host, "/files?path=x",
			http.Header{"Accept-Encoding": {"identity"}}, nil)
		got := make(chan error, 1)
		go func() {
			_, err := io.CopyN(io.Discard, resp.Body, size-tail)
			got <- err
		}()
		select {
		case err := <-got:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the bytes that were sent do not arrive")
		}
		release <- struct{}{}
		rest, err := io.ReadAll(resp.Body)
		if err != nil || len(rest) != tail {
			t.Fatalf("the end: %d bytes, %v", len(rest), err)
		}
		if body, _ := io.ReadAll(request(t, front, "GET", host, "/other",
			nil, nil).Body); string(body) != "small" {
			t.Errorf("afterwards: %q", body)
		}
	}
}

// TestEndlessHead: a daemon that is not ours, and whose answer to a download has a head
// without end, is hung up on.
func TestEndlessHead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.10:49983")
	if err != nil {
		t.Skipf("the daemon's port is taken here: %v", err)
	}
	defer listener.Close()
	sent := make(chan int64, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			sent <- 0
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		header := bytes.Repeat([]byte("X-Another: header\r\n"), 1<<10)
		n := int64(0)
		for err == nil && n < 256<<20 {
			var written int
			written, err = conn.Write(header)
			n += int64(written)
		}
		sent <- n
	}()
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.10")}}, quiet())
	front := httptest.NewServer(h)
	defer front.Close()
	resp := request(t, front, "GET", "49983-"+testID+".test", "/files?path=x",
		http.Header{"Accept-Encoding": {"identity"}}, nil)
	if resp.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", resp.StatusCode)
	}
	if n := <-sent; n > 32<<20 { // most of it is held by the system
		t.Errorf("%d bytes of the head were taken", n)
	}
}

// TestOnlyPlainFilesAreBulk: answers without a length, and those of other services, are
// streamed.
func TestOnlyPlainFilesAreBulk(t *testing.T) {
	for _, c := range []struct {
		method, path, encoding string
		port                   uint64
		want                   bool
	}{
		{"GET", "/files", "", shoal.EnvdPort, true},
		{"GET", "/files", "identity", shoal.EnvdPort, true},
		{"GET", "/files", "br, GZIP;q=0.5", shoal.EnvdPort, false},
		{"POST", "/files", "", shoal.EnvdPort, false},
		{"GET", "/health", "", shoal.EnvdPort, false},
		{"GET", "/files", "", 8080, false},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		if c.encoding != "" {
			r.Header.Set("Accept-Encoding", c.encoding)
		}
		if got := isBulk(r, route{sandboxID: testID, port: c.port}, Target{}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
