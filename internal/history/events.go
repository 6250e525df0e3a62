package history

import (
	"context"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// Events returns a part of a team's events. There is a time from which on the store has them all,
// and before which the archive has. Those of a sandbox are in the order of their numbers.
func (h *History) Events(ctx context.Context, q store.EventQuery) ([]shoal.Event, error) {
	if !h.has() {
		return h.store.Events(ctx, q)
	}
	since, err := h.store.EventsSince(ctx, q.TeamID)
	if err != nil {
		return nil, err
	}
	recent := q
	recent.Since = since
	older := func(ctx context.Context, q store.EventQuery) ([]shoal.Event, error) {
		return h.archive.Events(ctx, q, since)
	}
	countOlder := func(ctx context.Context, q store.EventQuery) (int, error) {
		return h.archive.CountEvents(ctx, q, since)
	}
	var list []shoal.Event
	if q.OldestFirst {
		list, err = concat(ctx, recent, older, countOlder, h.store.Events)
	} else {
		list, err = concat(ctx, recent, h.store.Events, h.store.CountEvents, older)
	}
	if err == nil || ctx.Err() != nil {
		return list, err
	}
	if h.has() { // else it has been said
		h.lacks(ctx, "events", err)
	}
	return h.store.Events(ctx, q) // whatever the store has
}

// concat returns a part of two lists, one after the other, by its offset and limit. It counts the
// first one only if it must.
func concat(ctx context.Context, q store.EventQuery,
	first func(context.Context, store.EventQuery) ([]shoal.Event, error),
	count func(context.Context, store.EventQuery) (int, error),
	second func(context.Context, store.EventQuery) ([]shoal.Event, error)) ([]shoal.Event, error) {
	list, err := first(ctx, q)
	if err != nil || len(list) >= q.Limit {
		return list, err
	}
	length := q.Offset + len(list)
	if len(list) == 0 && q.Offset > 0 {
		if length, err = count(ctx, q); err != nil {
			return nil, err
		}
	}
	q.Offset, q.Limit = max(q.Offset-length, 0), q.Limit-len(list)
	rest, err := second(ctx, q)
	return append(list, rest...), err
}
