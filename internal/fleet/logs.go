package fleet

import (
	"context"

	"shoal/internal/shoal"
)

// Logs returns part of the log of a team's sandbox, which may have ended.
func (f *Fleet) Logs(ctx context.Context, sandboxID, teamID string,
	q shoal.LogQuery) ([]shoal.LogEntry, error) {
	return history(ctx, f, sandboxID, func(ctx context.Context, node shoal.Node) ([]shoal.LogEntry, error) {
		return node.Logs(ctx, sandboxID, teamID, q)
	})
}
