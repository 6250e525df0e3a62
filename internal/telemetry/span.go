package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"shoal/internal/shoal"
)

// scope names the spans' origin within the process.
const scope = "shoal"

// Key names what a span says. None of them is for what a tenant wrote: no environment, command,
// path in a sandbox, or token.
type Key string

// What spans say.
const (
	Team      Key = "shoal.team"
	Sandbox   Key = "shoal.sandbox"
	Template  Key = "shoal.template"
	Request   Key = "shoal.request"
	Outcome   Key = "shoal.outcome" // of the proxy, as its metrics name it
	ErrorCode Key = "error.type"    // of the catalogue
	Method    Key = "http.request.method"
	Route     Key = "http.route"
	Status    Key = "http.response.status_code"
	Procedure Key = "rpc.method"
	Port      Key = "shoal.port"
)

// maxValue bounds what a span says of one key, in bytes.
const maxValue = 256

// Span is one timed part of a trace. The zero Span belongs to none, and does nothing.
type Span struct{ of trace.Span }

// Start begins a part of the trace that ctx is in, if it is in one. The caller ends it.
func Start(ctx context.Context, name string) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, span := parent.TracerProvider().Tracer(scope).Start(ctx, name)
	return ctx, Span{span}
}

// Current is the part of a trace that ctx is in.
func Current(ctx context.Context) Span {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return Span{span}
	}
	return Span{}
}

// Recorded reports whether anything becomes of the span.
func (s Span) Recorded() bool { return s.of != nil }

// Rename gives the span the name that it deserves once more is known.
func (s Span) Rename(name string) {
	if s.of != nil {
		s.of.SetName(name)
	}
}

// Set adds what the span says of a key. Nothing is said of what is unknown.
func (s Span) Set(key Key, value string) {
	if s.of != nil && value != "" {
		s.of.SetAttributes(attribute.String(string(key), strings.ToValidUTF8(value[:min(len(value), maxValue)], "?")))
	}
}

// SetNumber is Set for numbers.
func (s Span) SetNumber(key Key, value int) {
	if s.of != nil {
		s.of.SetAttributes(attribute.Int(string(key), value))
	}
}

// Fail marks the span as failed. What lies under an error may quote a guest, so only its code
// is told.
func (s Span) Fail(err error) {
	if s.of != nil && err != nil {
		code := shoal.AsError(err).Code
		s.Set(ErrorCode, code)
		s.of.SetStatus(codes.Error, code)
	}
}

// End ends the span, as failed if there is an error. Only the first end counts.
func (s Span) End(err error) {
	if s.of != nil {
		s.Fail(err)
		s.of.End()
	}
}
