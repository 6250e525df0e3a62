package endpoint

import (
	"fmt"
	"net/http"
	"time"
)

const (
	metricsPath = "GET /metrics"
	headTime    = 5 * time.Second
)

// NewHealthServer returns the proxy's health check, which answers every GET with "healthy"
// (runtime.md §1.9), but for that of the metrics.
func NewHealthServer(metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "healthy") })
	mux.Handle(metricsPath, metrics)
	return &http.Server{Handler: mux, ReadHeaderTimeout: headTime}
}

// NewMetricsServer serves metrics where a role has no health check of its own.
func NewMetricsServer(metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.Handle(metricsPath, metrics)
	return &http.Server{Handler: mux, ReadHeaderTimeout: headTime}
}
