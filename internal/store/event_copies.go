package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// UncopiedEvent is an event that is still to be copied to where events are kept for long.
type UncopiedEvent struct {
	shoal.Event
	StoredAt  time.Time
	ExpiresAt time.Time // until when the store keeps it
}

// EventSpool gives out the events that are still to be copied, and marks those that have been.
type EventSpool struct{ s *Store }

// EventSpool returns the store's spool of events.
func (s *Store) EventSpool() EventSpool { return EventSpool{s} }

// Uncopied returns some of the events that are still to be copied, by their time, and their IDs,
// which are the mark for Copied.
func (p EventSpool) Uncopied(ctx context.Context, rows, bytes int) ([]UncopiedEvent, []string, error) {
	found, err := p.s.q.UncopiedEvents(ctx, int32(min(rows, dropAtOnce)))
	if err != nil {
		return nil, nil, fmt.Errorf("list events to copy: %w", err)
	}
	var list []UncopiedEvent
	var ids []string
	for _, row := range found {
		if bytes <= 0 {
			break
		}
		list = append(list, UncopiedEvent{eventOf(row), fromMicros(row.StoredAt), fromMicros(row.ExpiresAt)})
		ids, bytes = append(ids, row.ID), bytes-int(row.Bytes)
	}
	return list, ids, nil
}

// Copied marks events, by their IDs, as copied.
func (p EventSpool) Copied(ctx context.Context, ids []string) error {
	return p.s.inTx(ctx, func(q *sqlcgen.Queries) error {
		for _, id := range ids {
			if err := q.MarkEventCopied(ctx, id); err != nil {
				return fmt.Errorf("mark an event as copied: %w", err)
			}
		}
		return nil
	})
}

// CopyEventsAgain has all events copied, also those that have been.
func (s *Store) CopyEventsAgain(ctx context.Context) error {
	if err := s.q.MarkEventsUncopied(ctx); err != nil {
		return fmt.Errorf("have all events copied: %w", err)
	}
	return nil
}

// copyTime is how much time there is to copy an event before it is answered from its copy.
const copyTime = 12 * time.Hour

// EventsSince returns a time from which on the store has all of a team's events, while all from
// before it have been copied: neither too many nor too old for the store, nor still to be copied.
func (s *Store) EventsSince(ctx context.Context, teamID string) (time.Time, error) {
	since := micros(time.Now().Add(-copyTime))
	uncopied, err := s.q.OldestUncopiedEvent(ctx)
	switch {
	case err == nil:
		since = min(since, uncopied)
	case !errors.Is(err, sql.ErrNoRows):
		return time.Time{}, fmt.Errorf("find the oldest event to copy: %w", err)
	}
	oldest, err := s.q.OldestEvent(ctx, teamID)
	switch {
	case err == nil:
		since = max(since, oldest)
	case !errors.Is(err, sql.ErrNoRows):
		return time.Time{}, fmt.Errorf("find a team's oldest event: %w", err)
	}
	return fromMicros(since), nil
}

// CountEvents returns how many events there are of a query, whatever its limit.
func (s *Store) CountEvents(ctx context.Context, query EventQuery) (int, error) {
	n, err := s.q.CountEvents(ctx, sqlcgen.CountEventsParams{TeamID: query.TeamID, Sandbox: query.SandboxID,
		Since: micros(query.Since), Types: query.typeList()})
	if err != nil {
		return 0, fmt.Errorf("count events: %w", err)
	}
	return int(n), nil
}
