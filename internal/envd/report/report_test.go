package report

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// node receives what a queue sends, refusing the first few requests.
func node(t *testing.T, refuse int32) (address string, got <-chan string) {
	t.Helper()
	bodies := make(chan string, 100)
	var refused atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/logs" || refused.Add(1) <= refuse {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		bodies <- string(body)
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

func receive(t *testing.T, got <-chan string) string {
	t.Helper()
	select {
	case body := <-got:
		return body
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return ""
	}
}

func TestSendsWhatWasLoggedBeforeTheNodeWasKnown(t *testing.T) {
	address, got := node(t, 0)
	q := New()
	go q.Run(t.Context())
	fmt.Fprintln(q, "one")
	fmt.Fprintln(q, "two")
	q.SendTo(address)
	if body := receive(t, got); body != "one\ntwo\n" {
		t.Errorf("first: %q", body)
	}
	fmt.Fprintln(q, "three")
	if body := receive(t, got); body != "three\n" {
		t.Errorf("then: %q", body)
	}
}

func TestSendsAgainWhenTheNodeIsBusy(t *testing.T) {
	address, got := node(t, 1)
	q := New()
	q.SendTo(address)
	go q.Run(t.Context())
	fmt.Fprintln(q, "kept")
	if body := receive(t, got); body != "kept\n" {
		t.Errorf("got %q", body)
	}
}

func TestDropsWhatIsTooMuch(t *testing.T) {
	q := New()
	if n, err := q.Write(make([]byte, maxLine+1)); n != maxLine+1 || err != nil {
		t.Errorf("a long line: %d %v", n, err)
	}
	line := bytes.Repeat([]byte("x"), maxLine)
	for range 2 * maxQueue / maxLine {
		_, _ = q.Write(line)
	}
	if q.size > maxQueue || q.size < maxQueue-maxLine {
		t.Errorf("%d bytes wait", q.size)
	}
	if _, body := q.take(); len(body) > maxPost {
		t.Errorf("a request of %d bytes", len(body))
	}
}
