package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCycleSaysWhatTheAPISays: an answer's cause and fix are told. Sandboxes that work are a matter
// of the end-to-end tests.
func TestCycleSaysWhatTheAPISays(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":503,"message":"Failed to place sandbox","error_code":"node.none","cause":"No machine.","fix":"Start one.","requestId":"r1"}`))
	}))
	t.Cleanup(api.Close)
	results := Cycle(t.Context(), Target{API: api.URL, Traffic: api.URL, Key: "e2b_x", Template: "base"})
	if len(results) != 1 || results[0].Name != "create" || results[0].Level != Fail || results[0].Fix != "Start one." {
		t.Fatalf("got %+v", results)
	}
	for _, want := range []string{"503", "node.none", "Failed to place sandbox", "No machine.", "r1"} {
		if !strings.Contains(results[0].Found, want) {
			t.Errorf("%q does not say %q", results[0].Found, want)
		}
	}
	results = Cycle(t.Context(), Target{API: "http://127.0.0.1:1", Traffic: api.URL, Key: "e2b_x", Template: "base"})
	wants(t, results[0], Fail, "does not answer")
}

// TestCycleKills: a sandbox whose daemon is not reached is ended all the same.
func TestCycleKills(t *testing.T) {
	killed := make(chan string, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			killed <- r.URL.Path
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"sandboxID":"i1"}`))
	}))
	t.Cleanup(api.Close)
	results := Cycle(t.Context(), Target{API: api.URL, Traffic: "http://127.0.0.1:1", Key: "e2b_x", Template: "base"})
	wants(t, about(results, "run, by header"), Fail, "is not reached at http://127.0.0.1:1")
	wants(t, about(results, "kill"), OK, "")
	if len(results) != 3 {
		t.Errorf("got %+v", results)
	}
	if path := <-killed; path != "/sandboxes/i1" {
		t.Errorf("killed %s", path)
	}
}
