package history

import (
	"context"
	"slices"

	"shoal/internal/shoal"
)

// EgressRecords returns what became of connections of a sandbox, which may have ended, newest
// first. Its machine has the last records; the archive those that it has no more.
func (h *History) EgressRecords(
	ctx context.Context, sandboxID string, q shoal.EgressQuery,
) ([]shoal.EgressRecord, error) {
	if q.Limit <= 0 {
		q.Limit = shoal.MaxEgressRecords
	}
	list, silent := h.machineRecords(ctx, sandboxID, q)
	if !h.has() || silent == nil && len(list) >= q.Limit {
		return list, silent
	}
	older := q
	if n := len(list); n > 0 {
		older.To = list[n-1].Minute // of which the machine may have a part
		older.Limit += minuteOf(list, n-1)
	}
	kept, err := h.archive.Connections(ctx, sandboxID, older)
	if err != nil {
		h.lacks(ctx, "connections", err)
		return list, silent
	}
	for _, r := range kept {
		if !slices.ContainsFunc(list, func(have shoal.EgressRecord) bool { return sameRecord(have, r) }) {
			list = append(list, r)
		}
	}
	return list[:min(len(list), q.Limit)], nil
}

func (h *History) machineRecords(
	ctx context.Context, sandboxID string, q shoal.EgressQuery,
) ([]shoal.EgressRecord, error) {
	ctx, cancel := h.forMachines(ctx)
	defer cancel()
	return h.fleet.EgressRecords(ctx, sandboxID, q)
}

// minuteOf is how many records of a list are of the same minute as one.
func minuteOf(list []shoal.EgressRecord, i int) (n int) {
	for _, r := range list {
		if r.Minute.Equal(list[i].Minute) {
			n++
		}
	}
	return n
}

// sameRecord tells whether two count the same; the machine's count may be the later one.
func sameRecord(a, b shoal.EgressRecord) bool {
	return a.Minute.Equal(b.Minute) && a.Target == b.Target && a.Port == b.Port && a.Outcome == b.Outcome
}
