package archive

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// event is a row of eventsTable.
type event struct {
	TeamID      string `json:"team_id"`
	At          string `json:"at"`
	SandboxID   string `json:"sandbox_id"`
	Number      int64  `json:"number"`
	ID          string `json:"id"`
	Type        string `json:"type"`
	ExecutionID string `json:"execution_id"`
	TemplateID  string `json:"template_id"`
	BuildID     string `json:"build_id"`
	Data        string `json:"data"`
	KeptUntil   int64  `json:"kept_until"`
}

// CopyEvents returns a copier of the events in the store.
func CopyEvents(db *clickhouse.Client, from *store.Store, log *slog.Logger) *Copier {
	return newCopier(db, "events", eventsTable, from.EventSpool(),
		func(e store.UncopiedEvent) time.Time { return e.StoredAt },
		func(e store.UncopiedEvent) (event, bool) {
			return event{TeamID: e.TeamID, At: text(e.Time), SandboxID: e.SandboxID, Number: e.Number, ID: e.ID,
				Type: string(e.Type), ExecutionID: e.ExecutionID, TemplateID: e.TemplateID, BuildID: e.BuildID,
				Data: e.Data, KeptUntil: e.ExpiresAt.Unix()}, true
		}, log)
}

// Both statements about events are about the same ones.
const (
	whichEvents = ` FROM sandbox_events FINAL
WHERE team_id = {team:String} AND at < fromUnixTimestamp64Micro({before:Int64})
	AND ({sandbox:String} = '' OR sandbox_id = {sandbox:String}) AND type IN {types:Array(String)}`
	selectEvents = `SELECT toUnixTimestamp64Micro(at) AS us, sandbox_id, number, id, type, execution_id,
	template_id, build_id, data` + whichEvents
)

func eventParams(q store.EventQuery, before time.Time) clickhouse.Params {
	types := make([]string, 0, len(shoal.EventTypes))
	for _, t := range q.Types {
		types = append(types, string(t))
	}
	if len(types) == 0 {
		for _, t := range shoal.EventTypes {
			types = append(types, string(t))
		}
	}
	return clickhouse.Params{"team": q.TeamID, "sandbox": q.SandboxID, "types": types, "before": before.UnixMicro()}
}

// Events returns a part of a team's events of before a time. Those of one sandbox are in the order
// of their numbers, others by time.
func (a *Archive) Events(
	ctx context.Context, q store.EventQuery, before time.Time,
) (list []shoal.Event, err error) {
	order := " ORDER BY "
	direction := " DESC"
	if q.OldestFirst {
		direction = ""
	}
	if q.SandboxID == "" {
		order += "at" + direction + ", "
	}
	order += "number" + direction + ", id" + direction + " LIMIT {limit:UInt64} OFFSET {offset:UInt64}"
	params := eventParams(q, before)
	params["limit"], params["offset"] = q.Limit, q.Offset
	type row struct {
		event
		US int64 `json:"us"`
	}
	err = read(ctx, a, selectEvents+order, params, func(r row) error {
		list = append(list, shoal.Event{ID: r.ID, Number: r.Number, Type: shoal.EventType(r.Type),
			Time: time.UnixMicro(r.US).UTC(), SandboxID: r.SandboxID, ExecutionID: r.ExecutionID,
			TemplateID: r.TemplateID, BuildID: r.BuildID, TeamID: q.TeamID, Data: r.Data})
		return nil
	})
	return list, err
}

// CountEvents returns how many events there are of a query, whatever its limit.
func (a *Archive) CountEvents(ctx context.Context, q store.EventQuery, before time.Time) (n int, err error) {
	type row struct{ N int }
	err = read(ctx, a, "SELECT count() AS n"+whichEvents, eventParams(q, before), func(r row) error {
		n = r.N
		return nil
	})
	return n, err
}
