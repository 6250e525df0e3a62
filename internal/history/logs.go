package history

import (
	"context"
	"time"

	"shoal/internal/shoal"
)

// Logs returns part of the log of a team's sandbox, which may have ended. Its machine has the last
// lines, and first; the archive those from before them.
func (h *History) Logs(ctx context.Context, sandboxID, teamID string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
	list, err := h.machineLogs(ctx, sandboxID, teamID, q)
	if !h.has() || err == nil && q.Backward && len(list) >= q.Limit {
		return list, err
	}
	var before time.Time
	silent := err
	if silent == nil {
		if before, err = h.firstLine(ctx, sandboxID, teamID, q, list); err != nil {
			return list, nil // it has gone meanwhile, and what it has said is all that is sure
		}
		if !q.Backward && !before.IsZero() && !q.From.Before(before) {
			return list, nil
		}
	}
	earlier, err := h.archive.Lines(ctx, sandboxID, teamID, before, q)
	if err != nil {
		h.lacks(ctx, "logs", err)
		return list, silent
	}
	if q.Backward {
		earlier = append(list, earlier...)
	} else {
		earlier = append(earlier, list...)
	}
	return earlier[:min(len(earlier), q.Limit)], nil
}

func (h *History) machineLogs(
	ctx context.Context, sandboxID, teamID string, q shoal.LogQuery,
) ([]shoal.LogEntry, error) {
	ctx, cancel := h.forMachines(ctx)
	defer cancel()
	return h.fleet.Logs(ctx, sandboxID, teamID, q)
}

// firstLine returns the time of the first line of a sandbox that its machine has; zero if it has
// none. The list is what it has answered to a query.
func (h *History) firstLine(ctx context.Context, sandboxID, teamID string, q shoal.LogQuery,
	list []shoal.LogEntry) (time.Time, error) {
	all := !q.Backward && q.From.IsZero() && q.Level == "" && q.Search == ""
	if !all {
		var err error
		if list, err = h.machineLogs(ctx, sandboxID, teamID, shoal.LogQuery{Limit: 1}); err != nil {
			return time.Time{}, err
		}
	}
	if len(list) == 0 {
		return time.Time{}, nil
	}
	return list[0].Time, nil
}
