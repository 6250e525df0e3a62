package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/endpoint"
)

// metricsOf serves the metrics of a role without a health check, if it is to.
func metricsOf(
	log *slog.Logger, listeners endpoint.Listeners, parts ...[]prometheus.Collector,
) ([]endpoint.Endpoint, error) {
	if len(listeners) == 0 {
		return nil, nil
	}
	metrics, err := endpoint.NewMetrics(version, log, parts...)
	if err != nil {
		return nil, err
	}
	return []endpoint.Endpoint{{Name: "metrics", Listeners: listeners, Public: true,
		Server: endpoint.NewMetricsServer(metrics)}}, nil
}
