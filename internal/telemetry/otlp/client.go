package otlp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	collogs "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxAnswer bounds what is read of a collector's answer, in bytes.
const maxAnswer = 64 << 10

// client sends to one collector.
type client struct {
	traces  func(context.Context, *coltrace.ExportTraceServiceRequest) error
	metrics func(context.Context, *colmetrics.ExportMetricsServiceRequest) error
	logs    func(context.Context, *collogs.ExportLogsServiceRequest) error
}

// newClient speaks gRPC or HTTP with the same messages, so gRPC's library is not needed.
func newClient(cfg Config) client {
	base := strings.TrimSuffix(cfg.Endpoint, "/")
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 90 * time.Second,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxResponseHeaderBytes: maxAnswer, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!cfg.GRPC)
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(cfg.GRPC)
	h := &http.Client{Transport: &identified{headers: cfg.Headers, next: transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if cfg.GRPC {
		const services = "/opentelemetry.proto.collector."
		return client{
			traces: call[coltrace.ExportTraceServiceRequest, coltrace.ExportTraceServiceResponse](
				h, base+services+"trace.v1.TraceService/Export"),
			metrics: call[colmetrics.ExportMetricsServiceRequest, colmetrics.ExportMetricsServiceResponse](
				h, base+services+"metrics.v1.MetricsService/Export"),
			logs: call[collogs.ExportLogsServiceRequest, collogs.ExportLogsServiceResponse](
				h, base+services+"logs.v1.LogsService/Export"),
		}
	}
	return client{
		traces: func(ctx context.Context, m *coltrace.ExportTraceServiceRequest) error {
			return post(ctx, h, base+"/v1/traces", m)
		},
		metrics: func(ctx context.Context, m *colmetrics.ExportMetricsServiceRequest) error {
			return post(ctx, h, base+"/v1/metrics", m)
		},
		logs: func(ctx context.Context, m *collogs.ExportLogsServiceRequest) error {
			return post(ctx, h, base+"/v1/logs", m)
		},
	}
}

// identified adds the operator's headers, such as a token for the collector.
type identified struct {
	headers map[string]string
	next    http.RoundTripper
}

func (i *identified) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, value := range i.headers {
		r.Header.Set(name, value)
	}
	return i.next.RoundTrip(r)
}

func call[In, Out any](h *http.Client, url string) func(context.Context, *In) error {
	c := connect.NewClient[In, Out](h, url, connect.WithGRPC(), connect.WithReadMaxBytes(maxAnswer))
	return func(ctx context.Context, in *In) error {
		_, err := c.CallUnary(ctx, connect.NewRequest(in))
		return err
	}
}

func post(ctx context.Context, h *http.Client, url string, message proto.Message) error {
	data, err := proto.Marshal(message)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := h.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// It is read so that the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return fmt.Errorf("the collector answers %s", resp.Status)
	}
	return nil
}

// Probe sends a message without content, and returns why the collector does not take it.
func Probe(ctx context.Context, cfg Config, s Signal) error {
	c := newClient(cfg)
	switch s {
	case Traces:
		return c.traces(ctx, &coltrace.ExportTraceServiceRequest{})
	case Metrics:
		return c.metrics(ctx, &colmetrics.ExportMetricsServiceRequest{})
	default:
		return c.logs(ctx, &collogs.ExportLogsServiceRequest{})
	}
}
