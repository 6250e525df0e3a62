package otlp

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"shoal/internal/telemetry"
)

const (
	maxAttributes = 32
	maxText       = 1024 // bytes of an attribute of a span
)

// newProvider makes spans, and hands those that have ended over.
func newProvider(own *resource.Resource, ratio float64, ended func(*tracepb.Span)) *sdk.TracerProvider {
	return sdk.NewTracerProvider(sdk.WithResource(own), sdk.WithSampler(newSampler(ratio)),
		sdk.WithRawSpanLimits(sdk.SpanLimits{AttributeCountLimit: maxAttributes, AttributeValueLengthLimit: maxText,
			EventCountLimit: 1, LinkCountLimit: 1, AttributePerEventCountLimit: 1, AttributePerLinkCountLimit: 1}),
		sdk.WithSpanProcessor(processor(ended)))
}

// sampler decides which traces are recorded: the share that is configured of those that begin
// here or at a client, and of other roles' what they have decided.
type sampler struct{ share, others sdk.Sampler }

func newSampler(ratio float64) sampler {
	share := sdk.TraceIDRatioBased(ratio)
	return sampler{share: share, others: sdk.ParentBased(share)}
}

func (s sampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	if telemetry.FromOutside(p.ParentContext) && trace.SpanContextFromContext(p.ParentContext).IsRemote() {
		return s.share.ShouldSample(p)
	}
	return s.others.ShouldSample(p)
}

func (s sampler) Description() string { return "shoal" }

// processor takes the spans that have ended.
type processor func(*tracepb.Span)

var _ sdk.SpanProcessor = processor(nil)

// OnStart implements sdk.SpanProcessor.
func (p processor) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor.
func (p processor) OnEnd(s sdk.ReadOnlySpan) { p(encodeSpan(s)) }

// Shutdown implements sdk.SpanProcessor.
func (p processor) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (p processor) ForceFlush(context.Context) error { return nil }

func encodeSpan(s sdk.ReadOnlySpan) *tracepb.Span {
	traceID, spanID, parent := s.SpanContext().TraceID(), s.SpanContext().SpanID(), s.Parent().SpanID()
	out := &tracepb.Span{TraceId: traceID[:], SpanId: spanID[:], Name: s.Name(), Kind: kindOf(s.SpanKind()),
		StartTimeUnixNano: uint64(s.StartTime().UnixNano()), EndTimeUnixNano: uint64(s.EndTime().UnixNano()),
		Attributes: keyValues(s.Attributes()), DroppedAttributesCount: uint32(s.DroppedAttributes()),
		Flags: uint32(s.SpanContext().TraceFlags())}
	if s.Parent().HasSpanID() {
		out.ParentSpanId = parent[:]
	}
	if s.Status().Code == codes.Error {
		out.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Status().Description}
	}
	return out
}

func kindOf(k trace.SpanKind) tracepb.Span_SpanKind {
	switch k {
	case trace.SpanKindServer:
		return tracepb.Span_SPAN_KIND_SERVER
	case trace.SpanKindClient:
		return tracepb.Span_SPAN_KIND_CLIENT
	}
	return tracepb.Span_SPAN_KIND_INTERNAL
}

// keyValues encodes attributes, which are texts and numbers.
func keyValues(list []attribute.KeyValue) []*common.KeyValue {
	out := make([]*common.KeyValue, len(list))
	for i, kv := range list {
		value := text(kv.Value.String())
		if kv.Value.Type() == attribute.INT64 {
			value = &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: kv.Value.AsInt64()}}
		}
		out[i] = &common.KeyValue{Key: string(kv.Key), Value: value}
	}
	return out
}

func text(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}
