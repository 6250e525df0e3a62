// Package otlptest is a collector for tests: it takes OpenTelemetry's protocol by HTTP and gRPC,
// parses it with the protocol's own messages, and keeps it.
package otlptest

import (
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"connectrpc.com/connect"
	collogs "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one that was sent, with its process's role.
type Span struct {
	Role, Name, TraceID, ID, Parent string
	Attributes                      map[string]string // numbers as Go prints them
	Failed                          bool
}

// Collector keeps what it is sent. It is safe for concurrent use.
type Collector struct {
	mu      sync.Mutex
	spans   []Span
	lines   []*logs.LogRecord
	metrics map[string]*metrics.Metric
	header  http.Header // of the last request
	changed chan struct{}
}

// New returns an empty collector.
func New() *Collector {
	return &Collector{metrics: map[string]*metrics.Metric{}, changed: make(chan struct{})}
}

// Handler takes the protocol. gRPC needs a server that speaks HTTP/2 without TLS.
func (c *Collector) Handler() http.Handler {
	mux := http.NewServeMux()
	take(c, mux, "/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export", c.takeSpans,
		&coltrace.ExportTraceServiceResponse{})
	take(c, mux, "/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", c.takeMetrics,
		&colmetrics.ExportMetricsServiceResponse{})
	take(c, mux, "/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export", c.takeLines,
		&collogs.ExportLogsServiceResponse{})
	return mux
}

func take[In, Out any, P interface {
	*In
	proto.Message
}](c *Collector, mux *http.ServeMux, path, procedure string, keep func(*In), answer *Out) {
	kept := func(in *In, header http.Header) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.header = header.Clone()
		keep(in)
		close(c.changed)
		c.changed = make(chan struct{})
	}
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		in := new(In)
		if err == nil {
			err = proto.Unmarshal(data, P(in))
		}
		if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
			http.Error(w, "no protobuf", http.StatusBadRequest)
			return
		}
		kept(in, r.Header)
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	mux.Handle(procedure, connect.NewUnaryHandler(procedure,
		func(_ context.Context, r *connect.Request[In]) (*connect.Response[Out], error) {
			kept(r.Msg, r.Header())
			return connect.NewResponse(answer), nil
		}))
}

func (c *Collector) takeSpans(in *coltrace.ExportTraceServiceRequest) {
	for _, resource := range in.ResourceSpans {
		role := texts(resource.Resource.GetAttributes())["shoal.role"]
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{Role: role, Name: s.Name, TraceID: hex.EncodeToString(s.TraceId),
					ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Attributes: texts(s.Attributes), Failed: s.GetStatus().GetCode() == 2})
			}
		}
	}
}

func (c *Collector) takeMetrics(in *colmetrics.ExportMetricsServiceRequest) {
	for _, resource := range in.ResourceMetrics {
		for _, scope := range resource.ScopeMetrics {
			for _, m := range scope.Metrics {
				c.metrics[m.Name] = m
			}
		}
	}
}

func (c *Collector) takeLines(in *collogs.ExportLogsServiceRequest) {
	for _, resource := range in.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			c.lines = append(c.lines, scope.LogRecords...)
		}
	}
}

// Await returns whether a condition holds of what the collector has, at the latest when ctx ends.
func (c *Collector) Await(ctx context.Context, holds func() bool) bool {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if holds() {
			return true
		}
		select {
		case <-ctx.Done():
			return holds()
		case <-changed:
		}
	}
}

// Trace returns the spans of a trace.
func (c *Collector) Trace(id string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s Span) bool { return s.TraceID != id })
}

// Metric returns the last values of a metric, or nil.
func (c *Collector) Metric(name string) *metrics.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[name]
}

// Lines returns the lines that have a text as their message.
func (c *Collector) Lines(message string) []*logs.LogRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.lines),
		func(l *logs.LogRecord) bool { return l.Body.GetStringValue() != message })
}

// Header returns the header of the last request.
func (c *Collector) Header() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

// texts are attributes as texts.
func texts(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		m[kv.Key] = Text(kv.Value)
	}
	return m
}

// Text is a value as a text.
func Text(v *common.AnyValue) string {
	switch of := v.GetValue().(type) {
	case *common.AnyValue_StringValue:
		return of.StringValue
	case *common.AnyValue_IntValue:
		return strconv.FormatInt(of.IntValue, 10)
	}
	return v.String()
}
