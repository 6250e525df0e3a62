package api

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

const (
	maxMetricSandboxes = 100
	metricWorkers      = 8
	latestWindow       = time.Minute // a live sandbox has a sample in it
)

// GetSandboxMetrics returns a sandbox's samples. An unknown sandbox has none
// (api.md §3.13).
func (s *Server) GetSandboxMetrics(
	ctx context.Context, req gen.GetSandboxMetricsRequestObject,
) (gen.GetSandboxMetricsResponseObject, error) {
	id, err := shoal.ParseSandboxID(req.SandboxID)
	if err != nil {
		return nil, err
	}
	from, to := time.Unix(0, 0), time.Now().Add(time.Second)
	if req.Params.Start != nil {
		from = time.Unix(*req.Params.Start, 0)
	}
	if req.Params.End != nil {
		to = time.Unix(*req.Params.End, 0)
	}
	if from.After(to) {
		return nil, shoal.ErrBadRequest.New("Invalid time range for metrics")
	}
	samples, err := s.samples(ctx, id, from, to)
	if err != nil {
		return nil, err
	}
	if len(samples) > 0 && req.Params.Start == nil {
		from = samples[0].Time
	}
	answer := gen.GetSandboxMetrics200JSONResponse{}
	for _, m := range bucketed(samples, step(to.Sub(from))) {
		answer = append(answer, wireMetric(m))
	}
	return answer, nil
}

// ListSandboxMetrics returns the latest sample of each named sandbox.
func (s *Server) ListSandboxMetrics(
	ctx context.Context, req gen.ListSandboxMetricsRequestObject,
) (gen.ListSandboxMetricsResponseObject, error) {
	ids := req.Params.SandboxIds
	if len(ids) > maxMetricSandboxes {
		return nil, shoal.ErrBadRequest.New("Too many sandboxes requested, maximum is %d", maxMetricSandboxes)
	}
	var mu sync.Mutex
	latest := map[string]gen.SandboxMetric{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(metricWorkers)
	for _, pathID := range ids {
		id, err := shoal.ParseSandboxID(pathID)
		if err != nil {
			return nil, err
		}
		g.Go(func() error {
			now := time.Now()
			samples, err := s.samples(ctx, id, now.Add(-latestWindow), now.Add(time.Second))
			if err != nil || len(samples) == 0 {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			latest[id] = wireMetric(samples[len(samples)-1])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return gen.ListSandboxMetrics200JSONResponse{Sandboxes: latest}, nil
}

func (s *Server) samples(ctx context.Context, id string, from, to time.Time) ([]shoal.Metrics, error) {
	node, _, err := s.locate(ctx, id)
	if err == nil {
		var samples []shoal.Metrics
		if samples, err = node.Metrics(ctx, id, from, to); err == nil {
			return samples, nil
		}
	}
	if shoal.ErrSandboxNotFound.Matches(err) {
		return nil, nil
	}
	return nil, err
}

// step is the width of a bucket for a range of time (api.md §3.13).
func step(span time.Duration) time.Duration {
	switch {
	case span < time.Hour:
		return 5 * time.Second
	case span < 6*time.Hour:
		return 30 * time.Second
	case span < 12*time.Hour:
		return time.Minute
	case span < 24*time.Hour:
		return 2 * time.Minute
	case span < 7*24*time.Hour:
		return 5 * time.Minute
	default:
		return 15 * time.Minute
	}
}

// bucketed keeps the maximum of each bucket at the time of its first sample, so
// that no time lies outside of the range that was asked for.
func bucketed(samples []shoal.Metrics, width time.Duration) []shoal.Metrics {
	var out []shoal.Metrics
	for _, m := range samples {
		if n := len(out); n > 0 && out[n-1].Time.Truncate(width).Equal(m.Time.Truncate(width)) {
			last := &out[n-1]
			last.CPUCount = max(last.CPUCount, m.CPUCount)
			last.CPUUsedPct = max(last.CPUUsedPct, m.CPUUsedPct)
			last.MemUsed, last.MemTotal = max(last.MemUsed, m.MemUsed), max(last.MemTotal, m.MemTotal)
			last.MemCache = max(last.MemCache, m.MemCache)
			last.DiskUsed, last.DiskTotal = max(last.DiskUsed, m.DiskUsed), max(last.DiskTotal, m.DiskTotal)
			continue
		}
		out = append(out, m)
	}
	return out
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
