package orchestrator

import (
	"context"

	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// journal is the logs of this machine's sandboxes.
type journal struct{ logs *sandboxlog.Store } // nil keeps none

// note adds a line to a sandbox's log.
func (j journal) note(sb *sandbox, level shoal.LogLevel, message string, fields map[string]any) {
	if j.logs != nil {
		j.logs.Note(sb.source(), level, message, fields)
	}
}

func (s *sandbox) source() sandboxlog.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sandboxlog.Source{SandboxID: s.id, TeamID: s.view.TeamID, TemplateID: s.view.TemplateID,
		Since: s.createdAt}
}

// KeepLog keeps lines that a program in a sandbox reports, one JSON object each. It
// refuses too many of them by ErrLogRate or ErrLogReport.
func (o *Orchestrator) KeepLog(ctx context.Context, sandboxID string, lines []byte) error {
	sb, err := o.table.find(sandboxID)
	if err != nil || o.journal.logs == nil {
		return nil //nolint:nilerr // a guest whose sandbox has just ended
	}
	return o.journal.logs.Add(ctx, sb.source(), lines)
}

// Logs returns a part of the log of a team's sandbox, which may have ended long ago.
func (o *Orchestrator) Logs(
	ctx context.Context, sandboxID, teamID string, q shoal.LogQuery,
) ([]shoal.LogEntry, error) {
	if o.journal.logs == nil {
		return nil, nil
	}
	return o.journal.logs.Query(ctx, sandboxID, teamID, q)
}
