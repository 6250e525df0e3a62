package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

const clientTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// theirs are the headers for traces that a client sends.
func theirs() http.Header {
	return http.Header{"Traceparent": {clientTrace}, "Tracestate": {"vendor=1"}, "Baggage": {"k=v"}, telemetry.HopHeader: {clientTrace}}
}

// TestServicesGetTheirTrace: through one proxy and through two, traced or not, a service of the
// sandbox gets what its client has sent for its trace, and the two are in one trace.
func TestServicesGetTheirTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracer := telemetry.NewTracer(sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)))
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Traceparent"), " ", r.Header.Get("Tracestate"), " ", r.Header.Get("Baggage"), " ",
			r.Header.Get(telemetry.HopHeader))
	})
	inner, _, port := guest(t, echo, Target{})
	front, _ := edgeTo(t, inner)
	inner.Config.Handler = tracer.GoOn("inner", inner.Config.Handler)
	front.Config.Handler = tracer.Begin("outer", front.Config.Handler)
	host := port + "-" + testID + ".test"
	if got := text(t, request(t, front, "GET", host, "/secret", theirs(), nil)); got != clientTrace+" vendor=1 k=v " {
		t.Errorf("the service got %q", got)
	}
	front.Close() // so that all spans have ended
	inner.Close()
	ended := map[string]sdk.ReadOnlySpan{}
	for _, s := range spans.Ended() {
		if s.SpanContext().TraceID().String() != clientTrace[3:35] {
			t.Errorf("%s is in another trace", s.Name())
		}
		for _, kv := range s.Attributes() {
			if strings.Contains(kv.Value.String(), "secret") {
				t.Errorf("%s says %s", s.Name(), kv.Value.String())
			}
		}
		ended[s.Name()+" of "+s.Parent().SpanID().String()] = s
	}
	outer := ended["outer of "+clientTrace[36:52]]
	if outer == nil {
		t.Fatalf("spans %v", ended)
	}
	answer := ended["proxy.answer of "+outer.SpanContext().SpanID().String()]
	if answer == nil || ended["inner of "+answer.SpanContext().SpanID().String()] == nil {
		t.Errorf("spans %v", ended)
	}
}

// TestWhoIsToldOfATrace: a machine's proxy and the daemon are; of a client's own headers the daemon
// gets none.
func TestWhoIsToldOfATrace(t *testing.T) {
	tracer := telemetry.NewTracer(sdk.NewTracerProvider())
	for name, c := range map[string]struct {
		port    uint64
		toNode  bool
		changed map[string]bool // whether it is told of another span of the trace; false is that it gets none
	}{
		"daemon":        {shoal.EnvdPort, false, map[string]bool{"Traceparent": true, "Tracestate": false, "Baggage": false, telemetry.HopHeader: false}},
		"daemon's node": {shoal.EnvdPort, true, map[string]bool{telemetry.HopHeader: true}},
		"service":       {8000, false, map[string]bool{telemetry.HopHeader: false}},
		"its node":      {8000, true, map[string]bool{telemetry.HopHeader: true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = theirs()
			tracer.Begin("outer", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				out := theirs()
				passTrace(r.Context(), out, c.port, c.toNode)
				for header, before := range theirs() {
					got := out.Get(header)
					told, listed := c.changed[header]
					switch {
					case !listed && got != before[0], listed && !told && got != "",
						told && (got == before[0] || !strings.HasPrefix(got, clientTrace[:36])):
						t.Errorf("%s is %q", header, got)
					}
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
}
