package endpoint

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxScrapes is how many scrapers are answered at once; scrapeTime is what one may take.
	maxScrapes = 4
	scrapeTime = 10 * time.Second
)

// NewRegistry gathers a process's metrics: its parts' meters, its version, and what there is of
// every Go program (docs/metrics.md).
func NewRegistry(version string, parts ...[]prometheus.Collector) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_info", Help: "1, with the version of Shoal.",
		ConstLabels: prometheus.Labels{"version": version}}, func() float64 { return 1 })
	parts = append(parts, []prometheus.Collector{info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})})
	for _, part := range parts {
		for _, c := range part {
			if err := registry.Register(c); err != nil {
				return nil, err
			}
		}
	}
	return registry, nil
}

// NewMetrics answers Prometheus with what a registry gathers.
func NewMetrics(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError})
}
