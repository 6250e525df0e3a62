package proxy

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"shoal/internal/shoal"
)

// TestMeters: each request counts once, by what came of it, and is open as long as it lasts.
func TestMeters(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	front, h, port := guest(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
		fmt.Fprint(w, "answer")
	}), Target{})
	get := func(host, path string) {
		request(t, front, "GET", host, path, nil, nil).Body.Close()
	}
	mine := port + "-" + testID + ".test"
	get(mine, "/")
	get(mine, "/")
	get("1-"+testID+".test", "/")
	get(port+"-iunknown.test", "/")
	get("nowhere", "/")
	done := make(chan struct{})
	go func() {
		defer close(done)
		get(mine, "/slow")
	}()
	<-entered
	if n := h.meters.open.Load(); n != 1 {
		t.Errorf("%d requests are open, want 1", n)
	}
	leave <- struct{}{}
	<-done
	front.Close() // waits until the last one is counted
	for outcome, want := range map[string]float64{outcomeForwarded: 3, outcomeUnrouted: 1, "port_closed": 1,
		shoal.ErrSandboxNotFound.Code: 1} {
		if got := testutil.ToFloat64(h.meters.requests.WithLabelValues(outcome)); got != want {
			t.Errorf("%s: %g, want %g", outcome, got, want)
		}
	}
	if n := h.meters.open.Load(); n != 0 {
		t.Errorf("%d requests are open, want none", n)
	}
}
