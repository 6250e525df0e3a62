package api

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"shoal/internal/shoal"
)

// TestMeters: requests count by the specification's routes, whatever a caller writes, and errors
// by their code.
func TestMeters(t *testing.T) {
	w := newWorld(t)
	id := w.create(`{"templateID":"base"}`)
	w.call("GET", "/sandboxes/"+id, "").wants(t, 200, "")
	w.call("GET", "/sandboxes/"+id, "", "X-API-Key", otherKey).wants(t, 404, "")
	w.call("GET", "/sandboxes/iunknown", "").wants(t, 404, "")
	w.call("GET", "/whatever/"+id, "").wants(t, 404, "")
	m := w.server.meters
	for route, byStatus := range map[string]map[string]float64{
		"POST /v2/sandboxes":         {"201": 1},
		"GET /sandboxes/{sandboxID}": {"200": 1, "404": 2},
		unknownRoute:                 {"404": 1},
	} {
		for status, want := range byStatus {
			if got := testutil.ToFloat64(m.requests.WithLabelValues(route, status)); got != want {
				t.Errorf("%s %s: %g, want %g", route, status, got, want)
			}
		}
	}
	if got := testutil.ToFloat64(m.errors.WithLabelValues(shoal.ErrSandboxNotFound.Code)); got != 2 {
		t.Errorf("%g sandboxes were not found, want 2", got)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.server.Meters()...)
	if n, err := testutil.GatherAndCount(registry, "shoal_api_requests_total"); err != nil || n != 5 {
		t.Errorf("%d series of requests, want 5: %v", n, err)
	}
}
