package proxy

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"shoal/internal/splice"
)

// uploads is a proxy whose clients' connections can be moved from, in front of a daemon.
type uploads struct {
	*testing.T
	proxy *Handler
	front *httptest.Server
}

const uploadHost = "49983-" + testID + ".test"

func newUploads(t *testing.T, daemon http.HandlerFunc) *uploads {
	listener, err := net.Listen("tcp", "127.0.0.9:49983")
	if err != nil {
		t.Skipf("the daemon's port is taken here: %v", err)
	}
	backend := &http.Server{Handler: daemon}
	go func() { _ = backend.Serve(listener) }()
	t.Cleanup(func() { backend.Close() })
	h := New(&fixed{target: Target{ExecutionID: "e", Host: netip.MustParseAddr("127.0.0.9")}}, quiet())
	front := httptest.NewUnstartedServer(h)
	front.Listener = splice.Listener{Listener: front.Listener}
	front.Config.ConnContext = splice.Context
	front.Start()
	t.Cleanup(front.Close)
	return &uploads{t, h, front}
}

// send uploads so many bytes, and returns the answer.
func (u *uploads) send(body io.Reader, size int64) (status int, answer string, err error) {
	req, err := http.NewRequest(http.MethodPost, u.front.URL+"/files?path=x", body)
	if err != nil {
		return 0, "", err
	}
	req.Host, req.ContentLength = uploadHost, size
	resp, err := u.front.Client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(said), err
}

// readBytes is how many bytes this process has read by calls of its own; what the host's kernel moves is not
// among them.
func (u *uploads) readBytes() (n int) {
	u.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		u.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "rchar: "); ok {
			for _, c := range strings.TrimSpace(text) {
				n = n*10 + int(c-'0')
			}
		}
	}
	return n
}

// TestBulkUpload: a file arrives as it was sent, again and again over one connection, and is not copied into
// the proxy.
func TestBulkUpload(t *testing.T) {
	got := make(chan []byte, 1)
	u := newUploads(t, func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- data
	})
	for _, size := range []int{12<<20 + 7, 100, bulkFrom, 8 << 20} {
		content := make([]byte, size)
		_, _ = rand.Read(content)
		before := u.readBytes()
		if status, said, err := u.send(bytes.NewReader(content), int64(size)); status != http.StatusOK || err != nil {
			t.Fatal(status, said, err)
		}
		if !bytes.Equal(<-got, content) {
			t.Errorf("%d bytes have arrived as others", size)
		}
		// The daemon reads all of it once; what is read besides was read by the proxy.
		if copied := u.readBytes() - before - size; size > bulkFrom && copied > bulkTail+1<<20 {
			t.Errorf("of %d bytes %d were copied", size, copied)
		}
	}
}

// TestBulkUploadDoesNotStall: what a client has sent arrives though the rest is still to come, but for a part
// that the host's kernel was told to wait for; of the end nothing is held back.
func TestBulkUploadDoesNotStall(t *testing.T) {
	const size, tail = 12 << 20, 100
	arrived := make(chan error)
	u := newUploads(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.CopyN(io.Discard, r.Body, size-tail)
		arrived <- err
		_, _ = io.Copy(io.Discard, r.Body)
	})
	out, in := io.Pipe()
	answered := make(chan int, 1)
	go func() {
		status, _, _ := u.send(out, size)
		answered <- status
	}()
	_, _ = in.Write(make([]byte, size-tail))
	select {
	case err := <-arrived:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("what was sent does not arrive")
	}
	_, _ = in.Write(make([]byte, tail))
	in.Close()
	if status := <-answered; status != http.StatusOK {
		t.Error(status)
	}
}

// TestBulkUploadRefused: a daemon that answers before it has read the file is heard.
func TestBulkUploadRefused(t *testing.T) {
	u := newUploads(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > bulkFrom {
			http.Error(w, "no room", http.StatusInsufficientStorage)
		}
	})
	for range 5 {
		status, said, err := u.send(bytes.NewReader(make([]byte, 64<<20)), 64<<20)
		if err == nil && (status != http.StatusInsufficientStorage || !strings.Contains(said, "no room")) {
			t.Errorf("the answer is %d %q", status, said)
		}
		if status, _, err := u.send(strings.NewReader("short"), 5); status != http.StatusOK || err != nil {
			t.Errorf("the next request: %d, %v", status, err)
		}
	}
}

// TestBulkUploadBrokenOff: the daemon learns that a client has gone in the middle.
func TestBulkUploadBrokenOff(t *testing.T) {
	heard := make(chan error, 1)
	u := newUploads(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		heard <- err
	})
	c, err := net.Dial("tcp", u.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "POST /files?path=x HTTP/1.1\r\nHost: "+uploadHost+"\r\nContent-Length: 50000000\r\n\r\n")
	_, _ = c.Write(make([]byte, 20<<20))
	c.Close()
	if err := <-heard; err == nil {
		t.Error("half a file is a whole one to the daemon")
	}
}

// TestBulkUploadToAnEndedSandbox: an upload ends when the sandbox does.
func TestBulkUploadToAnEndedSandbox(t *testing.T) {
	begun, over := make(chan struct{}), make(chan struct{})
	u := newUploads(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 5<<20)
		close(begun)
		<-over // it reads no more
	})
	defer close(over)
	go func() {
		<-begun
		u.proxy.Forget("e")
	}()
	status, said, err := u.send(bytes.NewReader(make([]byte, 64<<20)), 64<<20)
	if err == nil && status < http.StatusBadRequest {
		t.Errorf("the answer is %d %q", status, said)
	}
}
