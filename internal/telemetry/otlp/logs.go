package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
)

// Bounds of a line.
const (
	maxFields = 64
	maxValue  = 8 << 10 // bytes of the message, and of each field
)

// LogHandler takes what a program logs for the collector; nil if none is sent. It takes every
// level.
func (e *Exporter) LogHandler() slog.Handler {
	if !e.sends(Logs) {
		return nil
	}
	return &lineHandler{lines: e.lines}
}

// lineHandler turns records into lines when they are logged, because what they are about may
// change afterwards.
type lineHandler struct {
	lines  *queue[*logs.LogRecord]
	group  string // what the names of fields begin with
	fields []*common.KeyValue
}

var _ slog.Handler = (*lineHandler)(nil)

// Enabled implements slog.Handler.
func (h *lineHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler. It never waits.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	out := &logs.LogRecord{TimeUnixNano: uint64(r.Time.UnixNano()), ObservedTimeUnixNano: uint64(time.Now().UnixNano()),
		SeverityText: r.Level.String(), SeverityNumber: severity(r.Level), Body: text(cut(r.Message)),
		Attributes: h.fields[:len(h.fields):len(h.fields)]}
	r.Attrs(func(a slog.Attr) bool {
		out.Attributes = appendField(out.Attributes, h.group, a)
		return len(out.Attributes) < maxFields
	})
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		traceID, spanID := sc.TraceID(), sc.SpanID()
		out.TraceId, out.SpanId, out.Flags = traceID[:], spanID[:], uint32(sc.TraceFlags())
	}
	h.lines.offer(out)
	return nil
}

// WithAttrs implements slog.Handler.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.fields = h.fields[:len(h.fields):len(h.fields)]
	for _, a := range attrs {
		more.fields = appendField(more.fields, h.group, a)
	}
	return &more
}

// WithGroup implements slog.Handler.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	more := *h
	if name != "" {
		more.group += name + "."
	}
	return &more
}

// severity is OpenTelemetry's number of a level: debug 5, info 9, warn 13, error 17.
func severity(l slog.Level) logs.SeverityNumber {
	return logs.SeverityNumber(min(max(int(l)+9, 1), 24))
}

func appendField(list []*common.KeyValue, group string, a slog.Attr) []*common.KeyValue {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range value.Group() {
			list = appendField(list, group, inner)
		}
		return list
	}
	if a.Key == "" || len(list) >= maxFields {
		return list
	}
	return append(list, &common.KeyValue{Key: group + a.Key, Value: fieldValue(value)})
}

func fieldValue(v slog.Value) *common.AnyValue {
	switch v.Kind() {
	case slog.KindInt64:
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: v.Int64()}}
	case slog.KindFloat64:
		return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: v.Float64()}}
	case slog.KindBool:
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: v.Bool()}}
	case slog.KindAny:
		return text(cut(fmt.Sprint(v.Any())))
	}
	return text(cut(v.String()))
}

// cut bounds a text, which must be UTF-8 for the protocol.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxValue)], "\uFFFD") }
