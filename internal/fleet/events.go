package fleet

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// ServeEvents has take called for the events of all machines until ctx ends, for those of a
// machine in their order. What it has taken without an error is forgotten by the machine;
// otherwise it gets the same again.
func (f *Fleet) ServeEvents(ctx context.Context, take func(context.Context, []shoal.Event) error) error {
	var g errgroup.Group
	for _, m := range f.members {
		g.Go(func() error {
			f.serveEventsOf(ctx, m, take)
			return nil
		})
	}
	return g.Wait()
}

func (f *Fleet) serveEventsOf(
	ctx context.Context, m *member, take func(context.Context, []shoal.Event) error,
) {
	again := time.NewTicker(retryTime)
	defer again.Stop()
	var after shoal.EventMark
	failing := false
	for {
		batch, err := m.node.Events(ctx, after)
		// That a machine does not answer is said by its status; see syncMember.
		if err == nil && len(batch.Events) > 0 {
			err = take(ctx, batch.Events)
			if failed := err != nil && !errors.Is(err, context.Canceled); failed != failing {
				failing = failed
				f.log.Warn("whether a machine's events can be stored has changed", "node", m.view().Info.ID,
					"failing", failing, "error", err)
			}
		}
		if err == nil {
			after = batch.Next
			if ctx.Err() == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}
