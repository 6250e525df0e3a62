package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"shoal/internal/config"
	"shoal/internal/endpoint"
	"shoal/internal/telemetry"
	"shoal/internal/telemetry/logging"
	"shoal/internal/telemetry/otlp"
)

// watch is what a process of one or several roles tells of itself.
type watch struct {
	role     string
	console  *os.File
	log      *slog.Logger
	levels   *logging.Levels
	exporter *otlp.Exporter
	tracer   *telemetry.Tracer // nil if nothing is traced
	operator []endpoint.Endpoint
}

// openWatch opens the console, the log, and the ways to a collector and to the operator.
func openWatch(ctx context.Context, cfg *config.Config, role string) (*watch, error) {
	levels, err := logging.Parse(cfg.LogLevel)
	if err != nil {
		return nil, err
	}
	written := newLogHandler(cfg)
	// What is told of a collector that fails must not be sent to it.
	exporter, err := openExporter(cfg, role, slog.New(levels.Handler(written)))
	if err != nil {
		return nil, err
	}
	if sent := exporter.LogHandler(); sent != nil {
		written = slog.NewMultiHandler(written, sent)
	}
	w := &watch{role: role, console: openOutput(), levels: levels, exporter: exporter, tracer: exporter.Tracer(),
		log: slog.New(levels.Handler(written))}
	w.listen(ctx, cfg.RunDir)
	return w, nil
}

// listen opens the operator's socket. No role needs it to do its work.
func (w *watch) listen(ctx context.Context, runDir string) {
	l, err := endpoint.ListenOperator(ctx, runDir, w.role)
	if err != nil {
		w.log.Warn("the operator's socket is missing: no profiles, and the log's level stays", "error", err)
		return
	}
	w.operator = []endpoint.Endpoint{{Name: "operator", Listeners: endpoint.Listeners{l},
		Server: endpoint.NewOperatorServer(w.levels)}}
}

// Close closes what nobody has served. The socket is left to the next process otherwise.
func (w *watch) Close() {
	for _, e := range w.operator {
		e.Listeners.Close()
	}
}

func openExporter(cfg *config.Config, role string, log *slog.Logger) (*otlp.Exporter, error) {
	to, err := cfg.Collector()
	if err != nil {
		return nil, err
	}
	machine := cfg.NodeID
	if machine == "" {
		if machine, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("name this machine: %w", err)
		}
	}
	to.Attributes = map[string]string{"service.name": "shoal", "service.version": version,
		"service.instance.id": cfg.Instance + "-" + role + "@" + machine, "host.name": machine, "shoal.role": role}
	return otlp.New(to, log)
}

// registry gathers the metrics of the process's parts, and those of what sends them.
func (w *watch) registry(parts ...[]prometheus.Collector) (*prometheus.Registry, error) {
	return endpoint.NewRegistry(version, append(parts, w.exporter.Meters())...)
}

// run sends to the collector until ctx ends.
func (w *watch) run(ctx context.Context, g *errgroup.Group, metrics prometheus.Gatherer) {
	g.Go(func() error { return w.exporter.Run(ctx, metrics) })
}

// outside traces the requests to a server that anybody may reach.
func (w *watch) outside(name string, s *http.Server) *http.Server {
	s.Handler = w.tracer.Begin(name, s.Handler)
	return s
}

// inside traces the requests of other roles.
func (w *watch) inside(name string, s *http.Server) *http.Server {
	s.Handler = w.tracer.GoOn(name, s.Handler)
	return s
}

// probed serves metrics and health where a role has no address for its health alone.
func (w *watch) probed(
	listeners endpoint.Listeners, metrics *prometheus.Registry, health endpoint.Health,
) []endpoint.Endpoint {
	if len(listeners) == 0 {
		return nil
	}
	return []endpoint.Endpoint{{Name: "metrics", Listeners: listeners, Public: true,
		Server: endpoint.NewMetricsServer(endpoint.NewMetrics(metrics, w.log), health)}}
}
