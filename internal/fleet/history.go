package fleet

import (
	"context"
	"errors"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// history returns what the sandbox's machine keeps of it. If the sandbox has ended, nobody
// remembers which machine it was on, so all machines are asked, and one that does not answer
// fails it only if no other has anything.
func history[T any](ctx context.Context, f *Fleet, sandboxID string,
	ask func(context.Context, shoal.Node) ([]T, error)) ([]T, error) {
	asked := f.members
	if known, ok := f.sandboxes.find(sandboxID); ok {
		asked = []*member{known.on}
	}
	answers := make(chan []T, len(asked)) // that are not empty
	errs := make([]error, len(asked))
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var g errgroup.Group
	for i, m := range asked {
		g.Go(func() error {
			list, err := ask(ctx, m.node)
			if errs[i] = err; len(list) > 0 {
				answers <- list
				cancel() // a sandbox has one machine
			}
			return nil
		})
	}
	_ = g.Wait()
	select {
	case list := <-answers:
		return list, nil
	default:
		return nil, errors.Join(errs...)
	}
}

// Metrics returns what a team's sandbox used, which may have ended.
func (f *Fleet) Metrics(ctx context.Context, sandboxID string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	return history(ctx, f, sandboxID, func(ctx context.Context, node shoal.Node) ([]shoal.Sample, error) {
		return node.Metrics(ctx, sandboxID, q)
	})
}

// EgressRecords returns what became of connections of a team's sandbox, which may have ended.
func (f *Fleet) EgressRecords(ctx context.Context, sandboxID string, q shoal.EgressQuery) ([]shoal.EgressRecord, error) {
	return history(ctx, f, sandboxID, func(ctx context.Context, node shoal.Node) ([]shoal.EgressRecord, error) {
		return node.EgressRecords(ctx, sandboxID, q)
	})
}

// LatestMetrics returns the last sample of each of a team's sandboxes that has one. It fails only
// if a machine does not answer that may have one of those that are missing.
func (f *Fleet) LatestMetrics(ctx context.Context, teamID string,
	sandboxIDs []string) (map[string]shoal.Sample, error) {
	var mu sync.Mutex
	latest, errs := map[string]shoal.Sample{}, make([]error, len(f.members))
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var g errgroup.Group
	for i, m := range f.members {
		g.Go(func() error {
			var some map[string]shoal.Sample
			if some, errs[i] = m.node.LatestMetrics(ctx, teamID, sandboxIDs); errs[i] == nil {
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(latest, some)
			}
			return nil
		})
	}
	_ = g.Wait()
	for _, id := range sandboxIDs {
		if _, found := latest[id]; found {
			continue
		}
		for i, m := range f.members {
			if known, ok := f.sandboxes.find(id); errs[i] != nil && (!ok || known.on == m) {
				return nil, errs[i]
			}
		}
	}
	return latest, nil
}
