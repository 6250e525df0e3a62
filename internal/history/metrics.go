package history

import (
	"context"
	"maps"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/telemetry/series"
)

// Metrics returns what a sandbox used, which may have ended: the maximum of each step, oldest
// first. Its machine has the last samples, and first; the archive those from before them.
func (h *History) Metrics(ctx context.Context, sandboxID string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	list, silent := h.machineMetrics(ctx, sandboxID, q)
	whole := silent == nil && len(list) > 0 && !q.From.IsZero() &&
		!list[0].Time.After(q.From.Add(shoal.SamplePeriod)) // from the beginning of the range on
	if !h.has() || whole {
		return list, silent
	}
	first, last, err := h.archive.Extent(ctx, sandboxID, q)
	if err != nil {
		h.lacks(ctx, "metrics", err)
		return list, silent
	}
	if first.IsZero() || len(list) > 0 && !first.Before(list[0].Time) {
		return list, silent
	}
	return h.mergedMetrics(ctx, sandboxID, q, list, first, last)
}

func (h *History) machineMetrics(
	ctx context.Context, sandboxID string, q shoal.MetricsQuery,
) ([]shoal.Sample, error) {
	ctx, cancel := h.forMachines(ctx)
	defer cancel()
	return h.fleet.Metrics(ctx, sandboxID, q)
}

// mergedMetrics answers from the archive up to where the machine's samples begin. Both divide the
// range of time in the same steps.
func (h *History) mergedMetrics(ctx context.Context, sandboxID string, q shoal.MetricsQuery, list []shoal.Sample,
	first, last time.Time) ([]shoal.Sample, error) {
	if n := len(list); n > 0 {
		last = list[n-1].Time
	}
	if q.From.IsZero() {
		q.From = first
	}
	if q.To.IsZero() {
		if q.To = last; !q.From.Equal(first) {
			q.To = time.Now()
		}
	}
	step := shoal.MetricStep(q.To.Sub(q.From))
	if len(list) > 0 {
		recent, err := h.machineMetrics(ctx, sandboxID, q)
		if err == nil {
			list = recent
		}
	}
	older := q
	if len(list) > 0 {
		older.To = earliest(q.To, list[0].Time.Add(-time.Millisecond))
	}
	kept, err := h.archive.Samples(ctx, sandboxID, older, step)
	if err != nil {
		h.lacks(ctx, "metrics", err)
		return list, nil
	}
	return series.Merge(step, kept, list), nil
}

// LatestMetrics returns the last sample of each of a team's sandboxes that has one.
func (h *History) LatestMetrics(
	ctx context.Context, teamID string, sandboxIDs []string,
) (map[string]shoal.Sample, error) {
	machines, cancel := h.forMachines(ctx)
	latest, silent := h.fleet.LatestMetrics(machines, teamID, sandboxIDs)
	cancel()
	if !h.has() {
		return latest, silent
	}
	var missing []string
	for _, id := range sandboxIDs {
		if _, ok := latest[id]; !ok {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return latest, silent
	}
	kept, err := h.archive.LatestSamples(ctx, teamID, missing)
	if err != nil {
		h.lacks(ctx, "metrics", err)
		return latest, silent
	}
	if len(kept) == 0 {
		return latest, silent
	}
	maps.Copy(kept, latest)
	return kept, nil
}

func earliest(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}
