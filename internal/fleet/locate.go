package fleet

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// Locate finds a sandbox and its machine. It asks the machine that should have it first,
// then all of them. The error is ErrSandboxNotFound if no machine has it, and
// ErrNodeUnreachable if a machine that might have it does not answer.
func (f *Fleet) Locate(ctx context.Context, sandboxID string) (shoal.Node, shoal.Sandbox, error) {
	if known, ok := f.sandboxes.find(sandboxID); ok {
		sb, err := known.on.node.Get(ctx, sandboxID)
		if err == nil {
			return known.on.node, sb, nil
		}
		if !shoal.ErrSandboxNotFound.Matches(err) {
			return nil, shoal.Sandbox{}, err
		}
		f.sandboxes.forgetOn(sandboxID, func(on *member) bool { return on == known.on })
	}
	found, err := f.search(ctx, sandboxID)
	if err != nil {
		return nil, shoal.Sandbox{}, err
	}
	return found.on.node, found.sandbox, nil
}

// List returns the sandboxes of all machines. For a machine that does not answer, it
// returns the sandboxes last known there, so that they do not seem to have ended.
func (f *Fleet) List(ctx context.Context) ([]shoal.Sandbox, error) {
	var mu sync.Mutex
	var all []shoal.Sandbox
	var g errgroup.Group
	for _, m := range f.members {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			list, err := m.node.List(ctx)
			if err != nil {
				f.log.Warn("a machine does not answer; listing the sandboxes last known there",
					"node", m.view().Info.ID, "request", shoal.RequestID(ctx), "error", err)
				list = f.sandboxes.of(m)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, list...)
			return nil
		})
	}
	_ = g.Wait()
	return all, ctx.Err()
}

// KeptBytes returns what a team's paused sandboxes took on the disks of their machines at the
// last sync, or since then when they were paused through this fleet.
func (f *Fleet) KeptBytes(teamID string) int64 { return f.sandboxes.kept(teamID) }

// Forget drops a sandbox that was killed, so that it no longer counts against its team's
// limit.
func (f *Fleet) Forget(ctx context.Context, sandboxID string) {
	f.sandboxes.forget(sandboxID)
	f.free(ctx, sandboxID, true)
	f.catalogue.Drop(sandboxID)
}
