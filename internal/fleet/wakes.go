package fleet

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// ServeWakes has resume called for the paused sandboxes of all machines that traffic comes for,
// until ctx ends. A machine that cannot be reached decides alone until it can be.
func (f *Fleet) ServeWakes(
	ctx context.Context, resume func(context.Context, shoal.Node, shoal.Wake) error,
) error {
	var g errgroup.Group
	for _, m := range f.members {
		g.Go(func() error {
			again := time.NewTicker(retryTime)
			defer again.Stop()
			for {
				// The machine's status says whether it answers; see syncMember.
				_ = m.node.Wakes(ctx, func(ctx context.Context, w shoal.Wake) error { return resume(ctx, m.node, w) })
				select {
				case <-ctx.Done():
					return nil
				case <-again.C:
				}
			}
		})
	}
	return g.Wait()
}
