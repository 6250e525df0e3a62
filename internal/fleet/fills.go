package fleet

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// ServeFills has fill called for what all machines ask of placeholders, until ctx ends. A machine
// that cannot be reached fills nothing in until it can be.
func (f *Fleet) ServeFills(
	ctx context.Context, fill func(context.Context, shoal.Node, shoal.Fill) (map[shoal.Placeholder]string, error),
) error {
	var g errgroup.Group
	for _, m := range f.members {
		g.Go(func() error {
			again := time.NewTicker(retryTime)
			defer again.Stop()
			for {
				// The machine's status says whether it answers; see syncMember.
				_ = m.node.Fills(ctx, func(ctx context.Context, asked shoal.Fill) (map[shoal.Placeholder]string, error) {
					return fill(ctx, m.node, asked)
				})
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
