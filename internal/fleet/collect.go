package fleet

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/shoal"
)

// RemoveBuilds makes every machine remove builds that were made from sandboxes.
func (f *Fleet) RemoveBuilds(ctx context.Context, buildIDs ...string) error {
	for _, m := range f.members {
		for _, id := range buildIDs {
			if err := m.node.RemoveBuild(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
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
