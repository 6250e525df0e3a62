package telemetry

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

const (
	// TraceHeader tells a caller's place in a trace, as W3C Trace Context has it.
	TraceHeader = "Traceparent"
	// HopHeader is TraceHeader between the roles. A client's own TraceHeader goes on to its
	// services untouched, beside this one.
	HopHeader = "X-Shoal-Trace"
)

// Tracer begins traces. None are begun by a nil Tracer, which costs nothing.
type Tracer struct{ tracer trace.Tracer }

// NewTracer returns a tracer whose spans a provider takes.
func NewTracer(provider trace.TracerProvider) *Tracer { return &Tracer{provider.Tracer(scope)} }

type outsideKey struct{}

// FromOutside reports whether the parent of a new span is a stranger's word, so that it must not
// decide what is recorded.
func FromOutside(ctx context.Context) bool { return ctx.Value(outsideKey{}) != nil }

// Begin makes a span of every request to a handler that anybody may reach. It goes on with the
// client's trace if the client names one. Its tracestate and baggage are not read.
func (t *Tracer) Begin(name string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if parent, ok := parse(r.Header.Get(TraceHeader)); ok {
			ctx = context.WithValue(trace.ContextWithRemoteSpanContext(ctx, parent), outsideKey{}, true)
		}
		r.Header.Del(HopHeader)
		t.serve(ctx, name, next, w, r)
	})
}

// GoOn makes a span of each request to a handler that only other roles reach, if their request is
// part of a trace.
func (t *Tracer) GoOn(name string, next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parent, ok := parse(r.Header.Get(HopHeader))
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		t.serve(trace.ContextWithRemoteSpanContext(r.Context(), parent), name, next, w, r)
	})
}

func (t *Tracer) serve(ctx context.Context, name string, next http.Handler, w http.ResponseWriter, r *http.Request) {
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	Span{span}.Set(Method, r.Method)
	next.ServeHTTP(w, r.WithContext(ctx))
}

// Inject writes the place of ctx in its trace, if it is in one, into a header. What is not recorded
// is told too: then the next role does not record it either.
func Inject(ctx context.Context, into http.Header, name string) {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		into.Set(name, "00-"+sc.TraceID().String()+"-"+sc.SpanID().String()+"-"+(sc.TraceFlags()&trace.FlagsSampled).String())
	}
}

// TraceID returns the ID of the trace that ctx is in, or "".
func TraceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		return sc.TraceID().String()
	}
	return ""
}

// parse reads a traceparent. Of later versions only what this one has is read, as the standard
// asks.
func parse(text string) (trace.SpanContext, bool) {
	const length = len("00-") + 32 + len("-") + 16 + len("-01")
	later := len(text) > length && text[length] == '-' && !strings.HasPrefix(text, "00")
	if (len(text) != length && !later) || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
		text[:2] == "ff" || !isHex(text[:2]) || !isHex(text[53:length]) {
		return trace.SpanContext{}, false
	}
	traceID, err := trace.TraceIDFromHex(text[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	spanID, err := trace.SpanIDFromHex(text[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	var flags trace.TraceFlags
	if strings.ContainsRune("13579bdf", rune(text[54])) {
		flags = trace.FlagsSampled
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: flags, Remote: true})
	return sc, sc.IsValid()
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
