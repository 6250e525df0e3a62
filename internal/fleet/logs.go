package fleet

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// Logs returns part of the log of a team's sandbox. If the sandbox has ended, nobody
// remembers which machine it was on, so all machines are asked.
func (f *Fleet) Logs(ctx context.Context, sandboxID, teamID string,
	q shoal.LogQuery) ([]shoal.LogEntry, error) {
	asked := f.members
	if known, ok := f.sandboxes.find(sandboxID); ok {
		asked = []*member{known.on}
	}
	found, errs := make([][]shoal.LogEntry, len(asked)), make([]error, len(asked))
	var g errgroup.Group
	for i, m := range asked {
		g.Go(func() error {
			found[i], errs[i] = m.node.Logs(ctx, sandboxID, teamID, q)
			return nil
		})
	}
	_ = g.Wait()
	for _, list := range found {
		if len(list) > 0 {
			return list, nil
		}
	}
	return nil, errors.Join(errs...)
}
