package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/shoal"
)

// meters count requests. Routes are those of the specification, so nobody who calls chooses a
// label's value. docs/metrics.md describes them.
type meters struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	errors   *prometheus.CounterVec
}

// unknownRoute is the route of a request that has none.
const unknownRoute = "none"

func newMeters() *meters {
	m := &meters{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_api_requests_total",
			Help: "Answered requests, by route and status."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "shoal_api_request_seconds",
			Help: "Time until requests were answered, by route.", Buckets: []float64{.001, .0025, .005, .01, .025, .05,
				.1, .25, .5, 1, 2.5, 10, 30}}, []string{"route"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_errors_total",
			Help: "Errors that were answered, by their code in docs/errors.md."}, []string{"code"}),
	}
	for _, kind := range shoal.Catalogue {
		m.errors.WithLabelValues(kind.Code)
	}
	m.requests.WithLabelValues("GET /health", "200")
	m.seconds.WithLabelValues("GET /health")
	return m
}

func (m *meters) count(c *call, status int, took time.Duration) {
	route := c.route
	if route == "" {
		route = unknownRoute
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
	if c.err != nil {
		m.errors.WithLabelValues(shoal.AsError(c.err).Code).Inc()
	}
}

// Meters returns what counts the API's requests.
func (s *Server) Meters() []prometheus.Collector {
	return []prometheus.Collector{s.meters.requests, s.meters.seconds, s.meters.errors}
}
