package otlp

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
	"shoal/internal/telemetry/otlp/otlptest"
)

// startCollector serves a collector by HTTP/1.1 and HTTP/2 without TLS.
func startCollector(t *testing.T) (*otlptest.Collector, string) {
	t.Helper()
	c := otlptest.New()
	server := httptest.NewUnstartedServer(c.Handler())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return c, server.URL
}

// startExporter runs an exporter until the test, or what it returns, ends it.
func startExporter(t *testing.T, cfg Config, from prometheus.Gatherer) (e *Exporter, stop func()) {
	t.Helper()
	if cfg.Signals == nil {
		cfg.Signals = Signals
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Hour
	}
	e, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx, from) }()
	return e, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
	traceparent = "00-" + clientTrace + "-" + clientSpan + "-00"
)

// TestEverySignalArrives sends a trace, a line and the metrics by each way of the protocol.
func TestEverySignalArrives(t *testing.T) {
	for _, grpc := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "grpc"}[grpc], func(t *testing.T) {
			collector, url := startCollector(t)
			registry := prometheus.NewRegistry()
			seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "waits_seconds", Buckets: []float64{1, 5}})
			calls := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "calls_total"}, []string{"kind"})
			registry.MustRegister(seconds, calls)
			for _, took := range []float64{.5, 3, 4, 60} {
				seconds.Observe(took)
			}
			calls.WithLabelValues("good").Add(7)
			e, stop := startExporter(t, Config{Endpoint: url, GRPC: grpc, Ratio: 1, Headers: map[string]string{"X-Token": "abc"},
				Attributes: map[string]string{"shoal.role": "test"}}, registry)
			log := slog.New(e.LogHandler()).With("room", "r")
			handler := e.Tracer().Begin("outer", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ctx, span := telemetry.Start(r.Context(), "inner")
				span.Set(telemetry.Sandbox, "isb\xff1")
				telemetry.Begin(ctx, "phase")()
				log.WithGroup("g").InfoContext(ctx, "in a trace", "n", 3, "error", errors.New("why"))
				span.End(shoal.ErrSandboxNotFound.New("secret words"))
			}))
			r := httptest.NewRequest("POST", "/x", nil)
			r.Header.Set("Traceparent", traceparent)
			handler.ServeHTTP(httptest.NewRecorder(), r)
			stop()

			spans := collector.Trace(clientTrace)
			outer, inner, phase := named(t, spans, "outer"), named(t, spans, "inner"), named(t, spans, "phase")
			if outer.Parent != clientSpan || inner.Parent != outer.ID || phase.Parent != inner.ID || outer.Role != "test" {
				t.Errorf("spans %+v", spans)
			}
			if !inner.Failed || inner.Attributes["error.type"] != shoal.ErrSandboxNotFound.Code ||
				inner.Attributes["shoal.sandbox"] != "isb?1" || outer.Failed || outer.Attributes["http.request.method"] != "POST" {
				t.Errorf("outer %+v, inner %+v", outer, inner)
			}
			lines := collector.Lines("in a trace")
			if len(lines) != 1 {
				t.Fatalf("%d lines", len(lines))
			}
			var fields []string
			for _, kv := range lines[0].Attributes {
				fields = append(fields, kv.Key+"="+otlptest.Text(kv.Value))
			}
			if !slices.Equal(fields, []string{"room=r", "g.n=3", "g.error=why"}) || len(lines[0].TraceId) != 16 ||
				lines[0].SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO {
				t.Errorf("line %v, fields %q", lines[0], fields)
			}
			h := collector.Metric("waits_seconds").GetHistogram().GetDataPoints()
			if len(h) != 1 || !slices.Equal(h[0].BucketCounts, []uint64{1, 2, 1}) || h[0].Count != 4 || h[0].GetSum() != 67.5 ||
				!slices.Equal(h[0].ExplicitBounds, []float64{1, 5}) {
				t.Errorf("histogram %v", h)
			}
			sum := collector.Metric("calls_total").GetSum()
			if points := sum.GetDataPoints(); len(points) != 1 || points[0].GetAsDouble() != 7 || !sum.IsMonotonic ||
				points[0].Attributes[0].Value.GetStringValue() != "good" {
				t.Errorf("counter %v", sum)
			}
			if collector.Header().Get("X-Token") != "abc" {
				t.Errorf("header %v", collector.Header())
			}
			for _, s := range Signals {
				if n := testutil.ToFloat64(e.dropped.WithLabelValues(string(s))); n != 0 {
					t.Errorf("%v of %s were dropped", n, s)
				}
			}
			if n := testutil.ToFloat64(e.sent.WithLabelValues(string(Traces))); n != 3 {
				t.Errorf("%v spans were sent", n)
			}
		})
	}
}

func named(t *testing.T, spans []otlptest.Span, name string) otlptest.Span {
	t.Helper()
	for _, s := range spans {
		if s.Name == name {
			return s
		}
	}
	t.Errorf("no span %q among %+v", name, spans)
	return otlptest.Span{}
}

// TestOneTraceThroughRoles: a role goes on with another's trace, and takes its decision; a request
// of no trace begins none there.
func TestOneTraceThroughRoles(t *testing.T) {
	collector, url := startCollector(t)
	e, stop := startExporter(t, Config{Endpoint: url, Ratio: 1, Signals: []Signal{Traces}}, nil)
	none, endNone := startExporter(t, Config{Endpoint: url, Ratio: 0, Signals: []Signal{Traces}}, nil)
	inner := e.Tracer().GoOn("inner", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	pass := func(t *telemetry.Tracer, header string) string {
		var hop string
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Traceparent", header)
		r.Header.Set(telemetry.HopHeader, traceparent) // a client's own is not believed
		t.Begin("outer", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			out := httptest.NewRequest("GET", "/", nil)
			telemetry.Inject(r.Context(), out.Header, telemetry.HopHeader)
			hop = out.Header.Get(telemetry.HopHeader)
			inner.ServeHTTP(httptest.NewRecorder(), out)
		})).ServeHTTP(httptest.NewRecorder(), r)
		return hop
	}
	// The client's flag says that it does not record; here it is recorded all the same.
	if hop := pass(e.Tracer(), traceparent); !strings.HasSuffix(hop, "-01") || !strings.Contains(hop, clientTrace) {
		t.Errorf("the next role gets %q", hop)
	}
	// Neither is it recorded because the client wants it.
	const other = "1af7651916cd43dd8448eb211c80319c"
	if hop := pass(none.Tracer(), "00-"+other+"-"+clientSpan+"-01"); !strings.HasSuffix(hop, "-00") {
		t.Errorf("the next role gets %q of what is not recorded", hop)
	}
	inner.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	stop()
	endNone()
	spans := collector.Trace(clientTrace)
	if len(spans) != 2 || named(t, spans, "inner").Parent != named(t, spans, "outer").ID {
		t.Errorf("spans %+v", spans)
	}
	if spans := collector.Trace(other); len(spans) != 0 {
		t.Errorf("spans of another trace: %+v", spans)
	}
	if n := testutil.ToFloat64(e.sent.WithLabelValues(string(Traces))); n != 2 {
		t.Errorf("%v spans", n)
	}
}

// TestCollectorAway: what no collector takes is dropped and counted, within the bound of what
// waits, and nobody waits for it.
func TestCollectorAway(t *testing.T) {
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-answer
		http.Error(w, "no", http.StatusServiceUnavailable)
	}))
	t.Cleanup(silent.Close)
	e, stop := startExporter(t, Config{Endpoint: silent.URL, Ratio: 1, Signals: []Signal{Logs}}, nil)
	log := slog.New(e.LogHandler())
	for range batchSize {
		log.Info("line")
	}
	<-asked // a full batch is on its way, and nothing waits
	const more = 100
	for range queueSize + more {
		log.Info("line")
	}
	dropped := e.dropped.WithLabelValues(string(Logs))
	if n := testutil.ToFloat64(dropped); n != more {
		t.Errorf("%v lines were dropped while the collector was silent, not %d", n, more)
	}
	close(answer)
	stop()
	if n := testutil.ToFloat64(dropped); n != batchSize+queueSize+more {
		t.Errorf("%v lines were dropped, not %d", n, batchSize+queueSize+more)
	}
}

// TestOffIsOff: without an endpoint there is neither a tracer nor a handler, and Run ends at once.
func TestOffIsOff(t *testing.T) {
	e, stop := startExporter(t, Config{Ratio: 1}, nil)
	if e.Tracer() != nil || e.LogHandler() != nil {
		t.Error("something is on")
	}
	stop()
	if n := len(e.Meters()); n != 2 {
		t.Errorf("%d meters", n)
	}
}
