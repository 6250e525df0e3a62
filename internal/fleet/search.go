package fleet

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"shoal/internal/shoal"
)

// searchesAtOnce is how many sandboxes the machines are asked for at once; further calls wait.
const searchesAtOnce = 64

// searches lets calls that look for the same sandbox share the machines' answers.
type searches struct {
	calls singleflight.Group
	turns *semaphore.Weighted // of searchesAtOnce
}

// search asks all machines for a sandbox, unless none had it a moment ago.
func (f *Fleet) search(ctx context.Context, sandboxID string) (entry, error) {
	if f.sandboxes.isAbsent(sandboxID, time.Now()) {
		return entry{}, shoal.NotFound(sandboxID)
	}
	answer := f.searches.calls.DoChan(sandboxID, func() (any, error) {
		// The answer is of use to others even if this caller gives up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		if err := f.searches.turns.Acquire(ctx, 1); err != nil {
			return entry{}, errUnsure(sandboxID, err)
		}
		found, err := f.ask(ctx, sandboxID)
		f.searches.turns.Release(1)
		if shoal.ErrNodeUnreachable.Matches(err) {
			return f.searchLists(ctx, sandboxID)
		}
		return found, err
	})
	select {
	case a := <-answer:
		return a.Val.(entry), a.Err
	case <-ctx.Done():
		return entry{}, ctx.Err()
	}
}

// errSilent is said for a machine that is not asked, because it did not answer before.
var errSilent = errors.New("the machine does not answer")

// errFound ends the questions to other machines.
var errFound = errors.New("found")

// ask asks the machine that another api has named, and if it is not there, all of them.
func (f *Fleet) ask(ctx context.Context, sandboxID string) (entry, error) {
	if nodeID, ok := f.catalogue.Find(ctx, sandboxID); ok {
		for _, m := range f.members {
			if m.isSilent() || m.view().Info.ID != nodeID {
				continue
			}
			if sb, err := m.node.Get(ctx, sandboxID); err == nil {
				f.sandboxes.note(sb, m)
				return entry{sandbox: sb, on: m}, nil
			}
		}
	}
	found, err := f.askAll(ctx, sandboxID)
	if err == nil {
		f.catalogue.Put(sandboxID, found.on.view().Info.ID)
	}
	return found, err
}

func (f *Fleet) askAll(ctx context.Context, sandboxID string) (entry, error) {
	asked := f.sandboxes.mark()
	found := make([]*shoal.Sandbox, len(f.members))
	errs := make([]error, len(f.members))
	g, ctx := errgroup.WithContext(ctx)
	for i, m := range f.members {
		if m.isSilent() {
			errs[i] = errSilent
			continue
		}
		g.Go(func() error {
			sb, err := m.node.Get(ctx, sandboxID)
			if err != nil {
				errs[i] = err
				return nil
			}
			found[i] = &sb
			return errFound
		})
	}
	_ = g.Wait()
	var failed []error
	for i, m := range f.members {
		switch {
		case found[i] != nil:
			f.sandboxes.note(*found[i], m)
			return entry{sandbox: *found[i], on: m}, nil
		case errs[i] != nil && !shoal.ErrSandboxNotFound.Matches(errs[i]):
			failed = append(failed, errs[i])
		}
	}
	if len(failed) > 0 {
		return entry{}, errUnsure(sandboxID, errors.Join(failed...))
	}
	f.sandboxes.miss(sandboxID, asked, time.Now())
	return entry{}, shoal.NotFound(sandboxID)
}

// searchLists looks for a sandbox in new lists of all machines: one that was silent, or whose
// connections its restart has cut off, may answer by now. All searches share the wait for those
// that do not.
func (f *Fleet) searchLists(ctx context.Context, sandboxID string) (entry, error) {
	err := f.Sync(ctx)
	if found, ok := f.sandboxes.find(sandboxID); ok {
		return found, nil
	}
	if err != nil {
		return entry{}, errUnsure(sandboxID, err)
	}
	return entry{}, shoal.NotFound(sandboxID)
}

func errUnsure(sandboxID string, err error) error {
	return shoal.ErrNodeUnreachable.Wrap(err,
		"Cannot tell whether sandbox %q exists, because a machine does not answer", sandboxID)
}
