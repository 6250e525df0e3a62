package proxy

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/telemetry"
)

// The outcomes of requests that end with no page of the proxy's own. Those that do are named by
// the page's reason.
const (
	outcomeForwarded = "forwarded"
	outcomeUnrouted  = "unrouted" // neither the host nor headers name a sandbox
)

// meters count requests. docs/metrics.md describes them.
type meters struct {
	requests *prometheus.CounterVec
	open     atomic.Int64
}

func newMeters() *meters {
	m := &meters{requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_proxy_requests_total",
		Help: "Requests that the proxy has ended, by outcome: forwarded, unrouted, or the reason of its own answer."},
		[]string{"outcome"})}
	for _, outcome := range []string{outcomeForwarded, outcomeUnrouted} {
		m.requests.WithLabelValues(outcome)
	}
	return m
}

// Meters returns what counts and measures the proxy.
func (h *Handler) Meters() []prometheus.Collector {
	return []prometheus.Collector{h.meters.requests,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_proxy_open_requests",
			Help: "Requests under way through the proxy, streams and WebSockets among them."},
			func() float64 { return float64(h.meters.open.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_proxy_connections",
			Help: "Connections of the proxy to guests and to proxies of machines."},
			func() float64 { return float64(h.upstream.conns.Load()) })}
}

type outcomeKey struct{}

// begin counts a request, which says by the returned one what comes of it, until end.
func (m *meters) begin(r *http.Request) (counted *http.Request, end func()) {
	outcome := new(string)
	*outcome = outcomeForwarded
	m.open.Add(1)
	return r.WithContext(context.WithValue(r.Context(), outcomeKey{}, outcome)), func() {
		m.open.Add(-1)
		m.requests.WithLabelValues(*outcome).Inc()
		telemetry.Current(r.Context()).Set(telemetry.Outcome, *outcome)
	}
}

// endsBy notes what comes of a request.
func endsBy(r *http.Request, outcome string) {
	if noted, ok := r.Context().Value(outcomeKey{}).(*string); ok {
		*noted = outcome
	}
}
