package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

const (
	// MaxEventBytes is what a team's events may take; the oldest go for newer ones.
	MaxEventBytes = 256 << 20
	// eventCost is what an event takes besides its data, in bytes.
	eventCost = 512
	// dropAtOnce is how many rows one transaction removes.
	dropAtOnce = 1000
)

// AddEvents stores events, and opens their deliveries to webhooks. Those that are stored already,
// that are older than their team's events are kept, or whose team is unknown are left out. It
// returns how many are new.
func (s *Store) AddEvents(ctx context.Context, events []shoal.Event) (added int, err error) {
	teams := map[string][]shoal.Event{}
	var order []string
	for _, e := range events {
		if teams[e.TeamID] == nil {
			order = append(order, e.TeamID)
		}
		teams[e.TeamID] = append(teams[e.TeamID], e)
	}
	slices.Sort(order) // so that two who add events do not wait for each other
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		added = 0
		for _, team := range order {
			n, err := addTeamEvents(ctx, q, team, teams[team], s.maxEventBytes)
			if err != nil {
				return fmt.Errorf("store events of team %s: %w", team, err)
			}
			added += n
		}
		return nil
	})
	return added, err
}

func addTeamEvents(
	ctx context.Context, q *sqlcgen.Queries, teamID string, events []shoal.Event, most int64,
) (added int, err error) {
	row, err := q.TeamByID(ctx, teamID)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	team, err := teamOf(row.Team, row.TierLimits)
	if err != nil {
		return 0, err
	}
	used, err := q.LockEvents(ctx, teamID)
	if err != nil {
		return 0, err
	}
	hooks, err := q.ListWebhooks(ctx, teamID)
	if err != nil {
		return 0, err
	}
	now, kept := time.Now(), time.Duration(team.Limits.EventDays)*24*time.Hour
	var bytes int64
	for _, e := range events {
		if e.Time.Before(now.Add(-kept)) {
			continue
		}
		size := int64(len(e.Data) + eventCost)
		n, err := q.InsertEvent(ctx, sqlcgen.InsertEventParams{ID: e.ID, TeamID: e.TeamID, SandboxID: e.SandboxID,
			Number: e.Number, Type: string(e.Type), ExecutionID: e.ExecutionID, TemplateID: e.TemplateID,
			BuildID: e.BuildID, Data: e.Data, Bytes: size, At: micros(e.Time), StoredAt: micros(now),
			ExpiresAt: micros(e.Time.Add(kept))})
		if err != nil {
			return 0, err
		}
		if n == 0 {
			continue
		}
		added, bytes = added+1, bytes+size
		if err := openDeliveries(ctx, q, hooks, e, now); err != nil {
			return 0, err
		}
	}
	for used+bytes > most {
		dropped, err := q.DropOldestEvents(ctx, sqlcgen.DropOldestEventsParams{TeamID: teamID, Limit: dropAtOnce})
		if err != nil {
			return 0, err
		}
		if len(dropped) == 0 {
			break
		}
		for _, size := range dropped {
			bytes -= size
		}
	}
	return added, q.AddEventUsage(ctx, sqlcgen.AddEventUsageParams{TeamID: teamID, Bytes: bytes})
}

// DropExpiredEvents removes events that were kept for as long as their team's are.
func (s *Store) DropExpiredEvents(ctx context.Context, now time.Time) error {
	for {
		var n int
		err := s.inTx(ctx, func(q *sqlcgen.Queries) error {
			rows, err := q.DropExpiredEvents(ctx,
				sqlcgen.DropExpiredEventsParams{ExpiresAt: micros(now), Limit: dropAtOnce})
			if err != nil {
				return err
			}
			n = len(rows)
			freed := map[string]int64{}
			for _, row := range rows {
				freed[row.TeamID] += row.Bytes
			}
			for _, team := range slices.Sorted(maps.Keys(freed)) {
				err := q.AddEventUsage(ctx, sqlcgen.AddEventUsageParams{TeamID: team, Bytes: -freed[team]})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove old events: %w", err)
		}
		if n < dropAtOnce {
			return nil
		}
	}
}

// EventQuery is a part of a team's events.
type EventQuery struct {
	TeamID      string
	SandboxID   string            // "" is all sandboxes
	Types       []shoal.EventType // none is all
	Since       time.Time         // of the first that counts; zero is the beginning
	OldestFirst bool
	Limit       int
	Offset      int
}

// typeList is the types, as queries compare them.
func (q EventQuery) typeList() string {
	types := q.Types
	if len(types) == 0 {
		types = shoal.EventTypes
	}
	list := ","
	for _, t := range types {
		list += string(t) + ","
	}
	return list
}

// Events returns a part of a team's events. Those of a sandbox are in the order of their numbers.
func (s *Store) Events(ctx context.Context, query EventQuery) ([]shoal.Event, error) {
	list, since := query.typeList(), micros(query.Since)
	limit, offset := int32(query.Limit), int32(query.Offset)
	var rows []sqlcgen.Event
	var err error
	switch {
	case query.SandboxID == "" && query.OldestFirst:
		rows, err = s.q.TeamEventsOldestFirst(ctx, sqlcgen.TeamEventsOldestFirstParams{TeamID: query.TeamID,
			Types: list, Since: since, Limit: limit, Offset: offset})
	case query.SandboxID == "":
		rows, err = s.q.TeamEvents(ctx, sqlcgen.TeamEventsParams{TeamID: query.TeamID, Types: list, Since: since,
			Limit: limit, Offset: offset})
	case query.OldestFirst:
		rows, err = s.q.SandboxEventsOldestFirst(ctx, sqlcgen.SandboxEventsOldestFirstParams{
			SandboxID: query.SandboxID, TeamID: query.TeamID, Types: list, Since: since, Limit: limit, Offset: offset})
	default:
		rows, err = s.q.SandboxEvents(ctx, sqlcgen.SandboxEventsParams{SandboxID: query.SandboxID,
			TeamID: query.TeamID, Types: list, Since: since, Limit: limit, Offset: offset})
	}
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return eventsOf(rows), nil
}

// StoredEvent is an event with the time at which it came.
type StoredEvent struct {
	shoal.Event
	StoredAt time.Time
}

// EventsStoredSince returns a team's events in the order in which they came.
func (s *Store) EventsStoredSince(
	ctx context.Context, teamID string, since time.Time, most int,
) ([]StoredEvent, error) {
	rows, err := s.q.EventsStoredSince(ctx,
		sqlcgen.EventsStoredSinceParams{TeamID: teamID, StoredAt: micros(since), Limit: int32(most)})
	if err != nil {
		return nil, fmt.Errorf("list new events: %w", err)
	}
	list := make([]StoredEvent, len(rows))
	for i, row := range rows {
		list[i] = StoredEvent{eventOf(row), fromMicros(row.StoredAt)}
	}
	return list, nil
}

// Event returns one of a team's events.
func (s *Store) Event(ctx context.Context, teamID, id string) (shoal.Event, error) {
	row, err := s.q.EventByID(ctx, sqlcgen.EventByIDParams{ID: id, TeamID: teamID})
	return eventOf(row), lookup(err, "find an event")
}

func eventsOf(rows []sqlcgen.Event) []shoal.Event {
	list := make([]shoal.Event, len(rows))
	for i, row := range rows {
		list[i] = eventOf(row)
	}
	return list
}

func eventOf(row sqlcgen.Event) shoal.Event {
	return shoal.Event{ID: row.ID, Number: row.Number, Type: shoal.EventType(row.Type), Time: fromMicros(row.At),
		SandboxID: row.SandboxID, ExecutionID: row.ExecutionID, TemplateID: row.TemplateID, BuildID: row.BuildID,
		TeamID: row.TeamID, Data: row.Data}
}

// typesText and typesOf store a list of types as one text.
func typesText(types []shoal.EventType) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = string(t)
	}
	return strings.Join(words, ",")
}

func typesOf(text string) []shoal.EventType {
	var types []shoal.EventType
	for word := range strings.SplitSeq(text, ",") {
		types = append(types, shoal.EventType(word))
	}
	return types
}
