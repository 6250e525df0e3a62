package archive

import (
	"context"
	"log/slog"
	"time"

	"shoal/internal/clickhouse"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// line is a row of linesTable.
type line struct {
	SandboxID string `json:"sandbox_id"`
	At        string `json:"at"`
	Spool     string `json:"spool"`
	Number    int64  `json:"number"`
	TeamID    string `json:"team_id"`
	Level     string `json:"level"`
	Message   string `json:"message"`
	Line      string `json:"line"`
}

// CopyLines returns a copier of the logs of a machine's sandboxes.
func CopyLines(db *clickhouse.Client, from Spool[sandboxlog.Kept, int64], log *slog.Logger) *Copier {
	return newCopier(db, "logs", linesTable, from, func(k sandboxlog.Kept) time.Time { return k.Time },
		func(k sandboxlog.Kept) (line, bool) {
			return line{SandboxID: k.SandboxID, At: text(k.Time), Spool: k.Spool, Number: k.Number, TeamID: k.TeamID,
				Level: string(k.Level), Message: k.Message, Line: k.Line}, sane(k.Time, shoal.LogRetention)
		}, log)
}

// Lines returns part of the log of a team's sandbox, of lines before a time, unless that is zero.
func (a *Archive) Lines(
	ctx context.Context, sandboxID, teamID string, before time.Time, q shoal.LogQuery,
) (list []shoal.LogEntry, err error) {
	levels := []string{}
	for _, level := range []shoal.LogLevel{shoal.LogDebug, shoal.LogInfo, shoal.LogWarn, shoal.LogError} {
		if q.Level == "" || level.AtLeast(q.Level) {
			levels = append(levels, string(level))
		}
	}
	compare, order := ">=", "ASC"
	if q.Backward {
		compare, order = "<=", "DESC"
		if q.From.IsZero() {
			q.From = time.Now().Add(time.Hour)
		}
	}
	if before.IsZero() {
		before = time.Now().Add(2 * time.Hour)
	}
	type row struct {
		US                   int64
		Level, Message, Line string
	}
	err = read(ctx, a, `SELECT toUnixTimestamp64Micro(at) AS us, level, message, line FROM sandbox_logs FINAL
WHERE sandbox_id = {sandbox:String} AND team_id = {team:String} AND at < fromUnixTimestamp64Micro({before:Int64})
	AND at `+compare+` fromUnixTimestamp64Micro({from:Int64}) AND level IN {levels:Array(String)}
	AND ({search:String} = '' OR position(message, {search:String}) > 0)
ORDER BY at `+order+`, spool `+order+`, number `+order+` LIMIT {limit:UInt64}`,
		clickhouse.Params{"sandbox": sandboxID, "team": teamID, "before": before.UnixMicro(), "from": micros(q.From),
			"levels": levels, "search": q.Search, "limit": q.Limit},
		func(r row) error {
			list = append(list, shoal.LogEntry{Time: time.UnixMicro(r.US).UTC(), Level: shoal.LogLevel(r.Level),
				Message: r.Message, Line: r.Line, Fields: sandboxlog.FieldsOf(r.Line)})
			return nil
		})
	return list, err
}

// micros returns microseconds since 1970, and 0 for the zero time and those before.
func micros(t time.Time) int64 { return max(t.UnixMicro(), 0) }
