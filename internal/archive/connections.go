package archive

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/shoal"
)

// connections is a row of connectionsTable.
type connections struct {
	SandboxID string `json:"sandbox_id"`
	At        string `json:"at"`
	Target    string `json:"target"`
	Port      uint16 `json:"port"`
	Outcome   string `json:"outcome"`
	TeamID    string `json:"team_id"`
	Count     int64  `json:"count"`
}

// CopyConnections returns a copier of what became of connections of a machine's sandboxes.
func CopyConnections(
	db *clickhouse.Client, from Spool[shoal.EgressRecord, []shoal.EgressRecord], log *slog.Logger,
) *Copier {
	return newCopier(db, "connections", connectionsTable, from, func(r shoal.EgressRecord) time.Time { return r.Minute },
		func(r shoal.EgressRecord) (connections, bool) {
			return connections{SandboxID: r.SandboxID, At: text(r.Minute), Target: r.Target, Port: r.Port,
				Outcome: string(r.Outcome), TeamID: r.TeamID, Count: r.Count}, sane(r.Minute, shoal.EgressRetention)
		}, log)
}

// Connections returns what became of connections of a team's sandbox, newest first; the limit is to
// be given.
func (a *Archive) Connections(
	ctx context.Context, sandboxID string, q shoal.EgressQuery,
) (list []shoal.EgressRecord, err error) {
	to := q.To
	if to.IsZero() {
		to = time.Now()
	}
	type row struct {
		MS      int64
		TeamID  string `json:"team_id"`
		Target  string
		Port    uint16
		Outcome string
		Count   int64
	}
	err = read(ctx, a, `SELECT toUnixTimestamp(at) * 1000 AS ms, team_id, target, port, outcome, count
FROM sandbox_connections FINAL
WHERE sandbox_id = {sandbox:String} AND ({team:String} = '' OR team_id = {team:String})
	AND at >= toStartOfMinute(fromUnixTimestamp64Micro({from:Int64}))
	AND at <= toStartOfMinute(fromUnixTimestamp64Micro({to:Int64}))
ORDER BY at DESC, target, port, outcome LIMIT {limit:UInt64}`,
		clickhouse.Params{"sandbox": sandboxID, "team": q.TeamID, "from": micros(q.From), "to": micros(to),
			"limit": q.Limit}, func(r row) error {
			list = append(list, shoal.EgressRecord{SandboxID: sandboxID, TeamID: r.TeamID, Target: r.Target, Port: r.Port,
				Outcome: shoal.EgressOutcome(r.Outcome), Minute: time.UnixMilli(r.MS).UTC(), Count: r.Count})
			return nil
		})
	return list, err
}
