package proxy

import (
	"context"
	"net/http"
	"strconv"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// describe says in the trace, if the request is in one, where it goes. What a sandbox serves on
// ports of its own is its users' affair, so of those no path is told.
func describe(r *http.Request, rt route) {
	span := telemetry.Current(r.Context())
	if !span.Recorded() || rt.sandboxID == "" {
		return
	}
	span.Set(telemetry.Sandbox, rt.sandboxID)
	span.Set(telemetry.Port, strconv.FormatUint(rt.port, 10))
	if rt.port == shoal.EnvdPort {
		span.Set(telemetry.Route, r.URL.Path)
		span.Set(telemetry.Request, r.Header.Get(shoal.RequestIDHeader))
	}
}

// passTrace tells the next one of the trace: a machine's proxy, or the guest's daemon. A service of
// the sandbox gets what its client has sent, and nothing of ours. The daemon gets no more of the
// client's trace than its ID.
func passTrace(ctx context.Context, out http.Header, port uint64, toNode bool) {
	if !telemetry.Current(ctx).Recorded() {
		return
	}
	out.Del(telemetry.HopHeader)
	switch {
	case toNode:
		telemetry.Inject(ctx, out, telemetry.HopHeader)
	case port == shoal.EnvdPort:
		out.Del("Tracestate")
		out.Del("Baggage")
		telemetry.Inject(ctx, out, telemetry.TraceHeader)
	}
}
