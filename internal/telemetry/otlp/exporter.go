// Package otlp sends what a process tells of itself to a collector, by OpenTelemetry's protocol:
// traces, its log, and the metrics that Prometheus may read too. All of it waits in memory within
// a bound; what does not fit, or cannot be sent, is dropped and counted.
package otlp

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	collogs "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	coltrace "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"golang.org/x/sync/errgroup"

	"shoal/internal/telemetry"
)

// Signal is one kind of what is sent.
type Signal string

// The signals.
const (
	Traces  Signal = "traces"
	Metrics Signal = "metrics"
	Logs    Signal = "logs"
)

// Signals lists them.
var Signals = []Signal{Traces, Metrics, Logs}

// Bounds of what waits, of each of spans and lines, and of what is sent at once.
const (
	queueSize = 2048
	batchSize = 512
	batchTime = 2 * time.Second  // how long the first of a batch waits for others
	sendTime  = 10 * time.Second // for one batch
	lastTime  = 3 * time.Second  // for all that waits when the process ends
)

// Config says where to, and what.
type Config struct {
	Endpoint string // http:// or https://, with a path if there is one
	GRPC     bool   // instead of HTTP
	Headers  map[string]string
	Signals  []Signal
	Ratio    float64       // of the traces that begin here, from 0 to 1
	Interval time.Duration // between two looks at the metrics
	// Attributes are of the process: its role, version, machine.
	Attributes map[string]string
}

// Exporter sends. Without an endpoint it sends nothing, and only has meters.
type Exporter struct {
	cfg      Config
	log      *slog.Logger // must not lead here
	resource *resourcepb.Resource
	tracer   *telemetry.Tracer
	spans    *queue[*tracepb.Span]
	lines    *queue[*logs.LogRecord]
	client   client
	dropped  *prometheus.CounterVec
	sent     *prometheus.CounterVec
}

// New returns an exporter, which works once Run does. The log is told of failures.
func New(cfg Config, log *slog.Logger) (*Exporter, error) {
	e := &Exporter{cfg: cfg, log: log,
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_telemetry_dropped_total",
			Help: "Spans, lines and looks at the metrics that no collector got, by signal."}, []string{"signal"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_telemetry_sent_total",
			Help: "Spans, lines and looks at the metrics that a collector has taken, by signal."}, []string{"signal"}),
	}
	for _, s := range Signals {
		e.dropped.WithLabelValues(string(s))
		e.sent.WithLabelValues(string(s))
	}
	if cfg.Endpoint == "" {
		return e, nil
	}
	own, err := describe(cfg.Attributes)
	if err != nil {
		return nil, err
	}
	e.resource = &resourcepb.Resource{Attributes: keyValues(own.Attributes())}
	e.client = newClient(cfg)
	e.spans = newQueue[*tracepb.Span](e.dropped.WithLabelValues(string(Traces)), e.sent.WithLabelValues(string(Traces)))
	e.lines = newQueue[*logs.LogRecord](e.dropped.WithLabelValues(string(Logs)), e.sent.WithLabelValues(string(Logs)))
	if e.sends(Traces) {
		e.tracer = telemetry.NewTracer(e.provider(own))
	}
	return e, nil
}

// describe is what a collector knows the process by. OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME come first.
func describe(attributes map[string]string) (*resource.Resource, error) {
	var list []attribute.KeyValue
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		list = append(list, attribute.String(key, attributes[key]))
	}
	list = append(list, attribute.Int("process.pid", os.Getpid()))
	return resource.New(context.Background(), resource.WithAttributes(list...), resource.WithFromEnv())
}

func (e *Exporter) sends(s Signal) bool {
	return e.cfg.Endpoint != "" && slices.Contains(e.cfg.Signals, s)
}

// Tracer begins traces; it is nil if none are sent.
func (e *Exporter) Tracer() *telemetry.Tracer { return e.tracer }

// Meters count what was sent and what was not.
func (e *Exporter) Meters() []prometheus.Collector { return []prometheus.Collector{e.dropped, e.sent} }

// Run sends until ctx ends, and then what is left, within a short time. The metrics are those
// that a registry gathers.
func (e *Exporter) Run(ctx context.Context, metrics prometheus.Gatherer) error {
	var g errgroup.Group
	if e.sends(Traces) {
		g.Go(func() error {
			e.spans.run(ctx, told(e, Traces, e.sendSpans))
			return nil
		})
	}
	if e.sends(Logs) {
		g.Go(func() error {
			e.lines.run(ctx, told(e, Logs, e.sendLines))
			return nil
		})
	}
	if e.sends(Metrics) {
		g.Go(func() error {
			e.watch(ctx, metrics)
			return nil
		})
	}
	return g.Wait()
}

// told logs when a way of sending begins to fail, and when it works again.
func told[T any](e *Exporter, s Signal, send func(context.Context, T) error) func(context.Context, T) error {
	failing := false
	return func(ctx context.Context, what T) error {
		err := send(ctx, what)
		switch {
		case err != nil && !failing:
			e.log.Warn("a collector does not take what is sent; it is dropped", "signal", s, "error", err)
		case err == nil && failing:
			e.log.Info("the collector takes what is sent again", "signal", s)
		}
		failing = err != nil
		return err
	}
}

// scope is who measured, as a collector is told.
var scope = &common.InstrumentationScope{Name: "shoal"}

// provider makes spans, of which those that are recorded wait to be sent.
func (e *Exporter) provider(own *resource.Resource) trace.TracerProvider {
	return newProvider(own, e.cfg.Ratio, func(s *tracepb.Span) { e.spans.offer(s) })
}

func (e *Exporter) sendSpans(ctx context.Context, list []*tracepb.Span) error {
	return e.client.traces(ctx, &coltrace.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{
		{Resource: e.resource, ScopeSpans: []*tracepb.ScopeSpans{{Scope: scope, Spans: list}}}}})
}

func (e *Exporter) sendLines(ctx context.Context, list []*logs.LogRecord) error {
	return e.client.logs(ctx, &collogs.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{
		{Resource: e.resource, ScopeLogs: []*logs.ScopeLogs{{Scope: scope, LogRecords: list}}}}})
}
