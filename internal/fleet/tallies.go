package fleet

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// TakeTallies has keep called with what each machine has counted since the last call; if keep
// fails, the same comes again. It calls keep from a goroutine per machine. Only one call of
// TakeTallies may be under way.
func (f *Fleet) TakeTallies(ctx context.Context, keep func(context.Context, []shoal.Tally) error) error {
	errs := make([]error, len(f.members))
	var g errgroup.Group
	for i, m := range f.members {
		g.Go(func() error {
			errs[i] = m.takeTallies(ctx, keep)
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

func (m *member) takeTallies(ctx context.Context, keep func(context.Context, []shoal.Tally) error) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	list, err := m.node.Tallies(ctx, m.counted)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := keep(ctx, list); err != nil {
		return err
	}
	for _, c := range list {
		if until := c.Until(); until.After(m.counted) {
			m.counted = until
		}
	}
	// A clock that was far ahead must not keep later counts from being asked for.
	if now := time.Now(); m.counted.After(now) {
		m.counted = now
	}
	return nil
}
