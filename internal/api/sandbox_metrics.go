package api

import (
	"context"
	"time"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const maxMetricSandboxes = 100

// GetSandboxMetrics returns what a sandbox used, also after it has ended. An unknown sandbox has
// used nothing (api.md §3.13).
func (s *Server) GetSandboxMetrics(
	ctx context.Context, req gen.GetSandboxMetricsRequestObject,
) (gen.GetSandboxMetricsResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	q := shoal.MetricsQuery{TeamID: callerOf(ctx).Team.ID, From: second(req.Params.Start), To: second(req.Params.End)}
	if req.Params.Start != nil && afterEnd(q.From, q.To) {
		return nil, shoal.ErrBadRequest.New("Invalid time range for metrics")
	}
	samples, err := s.history.Metrics(ctx, id, q)
	if err != nil {
		return nil, err
	}
	answer := make(gen.GetSandboxMetrics200JSONResponse, len(samples))
	for i, m := range samples {
		answer[i] = wireMetric(m.Metrics)
	}
	return answer, nil
}

// GetSandboxHostMetrics returns what a sandbox of any team used, from inside and from outside.
func (s *Server) GetSandboxHostMetrics(
	ctx context.Context, req gen.GetSandboxHostMetricsRequestObject,
) (gen.GetSandboxHostMetricsResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	q := shoal.MetricsQuery{Operator: true, From: second(req.Params.Start), To: second(req.Params.End)}
	if req.Params.Start != nil && afterEnd(q.From, q.To) {
		return nil, shoal.ErrBadRequest.New("Invalid time range for metrics")
	}
	samples, err := s.history.Metrics(ctx, id, q)
	if err != nil {
		return nil, err
	}
	answer := make(gen.GetSandboxHostMetrics200JSONResponse, len(samples))
	for i, m := range samples {
		answer[i] = gen.SandboxHostMetric{TimestampUnix: m.Time.Unix(), HostCpuUsedPct: m.Host.CPUUsedPct,
			HostMemBytes: m.Host.MemBytes, HostMemHeldBytes: m.Host.HeldBytes, HostDiskBytes: m.Host.DiskBytes}
		if !m.Silent() {
			guest := wireMetric(m.Metrics)
			answer[i].Guest = &guest
		}
	}
	return answer, nil
}

// ListSandboxMetrics returns the latest sample of each named sandbox.
func (s *Server) ListSandboxMetrics(
	ctx context.Context, req gen.ListSandboxMetricsRequestObject,
) (gen.ListSandboxMetricsResponseObject, error) {
	if len(req.Params.SandboxIds) > maxMetricSandboxes {
		return nil, shoal.ErrBadRequest.New("Too many sandboxes requested, maximum is %d", maxMetricSandboxes)
	}
	ids := make([]string, len(req.Params.SandboxIds))
	for i, pathID := range req.Params.SandboxIds {
		var err error
		if ids[i], err = shoal.ParseSandboxID(pathID); err != nil {
			return nil, err
		}
	}
	samples, err := s.history.LatestMetrics(ctx, callerOf(ctx).Team.ID, ids)
	if err != nil {
		return nil, err
	}
	latest := map[string]gen.SandboxMetric{}
	for id, m := range samples {
		latest[id] = wireMetric(m.Metrics)
	}
	return gen.ListSandboxMetrics200JSONResponse{Sandboxes: latest}, nil
}

// lastSecond is the end of the year 9999, after which times cannot be written.
const lastSecond = 253402300799

// second returns a time of a query; zero if there is none.
func second(unix *int64) time.Time {
	if unix == nil {
		return time.Time{}
	}
	return time.Unix(min(*unix, lastSecond), 0).UTC()
}

// afterEnd reports whether a range of time begins after its end, which is now if it is zero.
func afterEnd(from, to time.Time) bool {
	if to.IsZero() {
		to = time.Now().Add(time.Second) // the caller's clock may be ahead
	}
	return from.After(to)
}

func wireMetric(m shoal.Metrics) gen.SandboxMetric {
	return gen.SandboxMetric{
		Timestamp:     m.Time.UTC(),
		TimestampUnix: m.Time.Unix(),
		CpuCount:      int32(m.CPUCount),
		CpuUsedPct:    m.CPUUsedPct,
		MemUsed:       m.MemUsed,
		MemTotal:      m.MemTotal,
		MemCache:      m.MemCache,
		DiskUsed:      m.DiskUsed,
		DiskTotal:     m.DiskTotal,
	}
}
