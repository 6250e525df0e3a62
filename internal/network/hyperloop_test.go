package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestReports: a guest learns what is wrong with its report but nothing of the host, and one
// that leaves reports unfinished does not keep others from theirs.
func TestReports(t *testing.T) {
	var refusal error
	h := &hyperloop{reports: guestShares{All: 8, Each: 3, Scarce: 1},
		identify: func(a netip.Addr) (string, bool) { return "at " + a.String(), a != netip.MustParseAddr("9.9.9.9") },
		keep:     func(context.Context, string, []byte) error { return refusal }}
	post := func(from string, body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/logs", body)
		r.RemoteAddr = from + ":1234"
		w := httptest.NewRecorder()
		h.logs(w, r)
		return w
	}
	for n, c := range []struct {
		from    string
		size    int
		refusal error
		status  int
		text    string
	}{
		{"1.1.1.1", 10, nil, 204, ""},
		{"9.9.9.9", 10, nil, 403, "unknown caller"},
		{"1.1.1.1", maxLogBody + 1, nil, 413, "more than 1048576 bytes. Split it"},
		{"1.1.1.1", 10, shoal.ErrLogRate.New("the sandbox logs too much"), 429, "logs too much"},
		{"1.1.1.1", 10, fmt.Errorf("INSERT: %w", errors.New("the disk is full")), 503, "cannot be kept now"},
	} {
		refusal = c.refusal
		w := post(c.from, strings.NewReader(strings.Repeat("x", c.size)))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%d: %d %s", n, w.Code, w.Body)
		}
	}

	refusal = nil
	var hold []*io.PipeWriter
	done := make(chan int, 8)
	for range 3 {
		reader, writer := io.Pipe()
		hold = append(hold, writer)
		go func() { done <- post("1.1.1.1", reader).Code }()
		if _, err := writer.Write([]byte("{")); err != nil { // it is being read
			t.Fatal(err)
		}
	}
	if w := post("1.1.1.1", strings.NewReader("{}")); w.Code != http.StatusTooManyRequests {
		t.Errorf("the fourth at once: %d", w.Code)
	}
	if w := post("2.2.2.2", strings.NewReader("{}")); w.Code != http.StatusNoContent {
		t.Errorf("another guest's: %d", w.Code)
	}
	for _, writer := range hold {
		writer.Close()
		if code := <-done; code != http.StatusNoContent {
			t.Errorf("one that was slow: %d", code)
		}
	}
	if w := post("1.1.1.1", strings.NewReader("{}")); w.Code != http.StatusNoContent {
		t.Errorf("afterwards: %d", w.Code)
	}
}
