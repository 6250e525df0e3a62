package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestOpenRequestsAreBounded holds as many requests to one sandbox open as may be.
func TestOpenRequestsAreBounded(t *testing.T) {
	release := make(chan struct{})
	front, handler, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-release
	}), Target{ExecutionID: "e1"})
	for range MaxOpenRequests - 1 { // what others hold
		if !handler.open.Take(testID, 1) {
			t.Fatal("refused below the bound")
		}
	}
	get := func(id string) *http.Response {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, nil)
		req.Header.Set(headerSandbox, id)
		req.Header.Set(headerPort, port)
		resp, err := front.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	if resp := get(testID); resp.StatusCode != http.StatusOK {
		t.Fatalf("the last request below the bound: %d", resp.StatusCode)
	}
	over := get(testID)
	body, _ := io.ReadAll(over.Body)
	if over.StatusCode != http.StatusTooManyRequests ||
		!strings.Contains(string(body), `"connectionLimit":`+strconv.Itoa(MaxOpenRequests)) {
		t.Errorf("the request over the bound: %d %s", over.StatusCode, body)
	}
	if resp := get("iother00000000000000"); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("another sandbox: %d, want its own answer", resp.StatusCode)
	}
	close(release)
}

func TestAdmissionForgets(t *testing.T) {
	open := newOpenRequests()
	for range MaxOpenRequests / fileWeight {
		if !open.Take("s", fileWeight) {
			t.Fatal("refused below the bound")
		}
	}
	if open.Take("s", 1) {
		t.Error("admitted over the bound")
	}
	for range MaxOpenRequests / fileWeight {
		open.Give("s", fileWeight)
	}
	if left := open.Taken(); left != 0 {
		t.Errorf("%d are left", left)
	}
}

func TestFilesWeighMore(t *testing.T) {
	r := &http.Request{URL: &url.URL{Path: "/files"}}
	if weigh(r, route{port: shoal.EnvdPort}) != fileWeight || weigh(r, route{port: 3000}) != 1 {
		t.Error("only the daemon's files weigh more")
	}
}

// TestHeadsHaveATime: a connection that sends half a head is closed.
func TestHeadsHaveATime(t *testing.T) {
	if s := NewServer(http.NotFoundHandler()); s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > headTime ||
		s.MaxHeaderBytes == 0 {
		t.Errorf("heads may take %v and %d bytes", s.ReadHeaderTimeout, s.MaxHeaderBytes)
	}
}
