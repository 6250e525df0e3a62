package fleet

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// RemoveBuilds makes every machine remove builds that were made from sandboxes. A build or
// machine that fails keeps no other from its turn; the next collection finds what is left.
func (f *Fleet) RemoveBuilds(ctx context.Context, buildIDs ...string) error {
	errs := make([]error, len(f.members))
	var g errgroup.Group
	for i, m := range f.members {
		g.Go(func() error {
			for _, id := range buildIDs {
				if err := m.node.RemoveBuild(ctx, id); err != nil {
					errs[i] = errors.Join(errs[i], fmt.Errorf("machine %s: %w", m.view().Info.ID, err))
				}
			}
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// Collect makes every machine remove its unused builds, snapshots, images and kernels. A
// machine that does not believe the inventory, or fails, keeps no other from it.
func (f *Fleet) Collect(
	ctx context.Context, known shoal.Inventory, opts shoal.CollectOptions,
) (shoal.Collected, error) {
	var sum shoal.Collected
	var errs error
	for _, m := range f.members {
		c, err := m.node.Collect(ctx, known, opts)
		sum = sum.Plus(c)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("machine %s: %w", m.view().Info.ID, err))
		}
	}
	return sum, errs
}
