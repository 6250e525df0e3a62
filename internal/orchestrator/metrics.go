package orchestrator

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

const (
	samplePeriod  = 5 * time.Second // the finest step that clients ask for
	sampleTimeout = 2 * time.Second
	sampleWorkers = 4
	keptSamples   = 1440 // two hours
)

// samples keeps the newest samples of one sandbox. Guarded by sandbox.mu.
type samples struct{ list []shoal.Metrics }

func (s *samples) add(m shoal.Metrics) {
	if len(s.list) >= keptSamples {
		s.list = append(s.list[:0], s.list[1:]...)
	}
	s.list = append(s.list, m)
}

// sampler asks running guests for their use.
type sampler struct {
	table *table
	log   *slog.Logger
}

// Run samples every running guest, and tidies it, until ctx ends.
func (s *sampler) Run(ctx context.Context) error {
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		g := new(errgroup.Group)
		g.SetLimit(sampleWorkers)
		for _, sb := range s.table.all() {
			g.Go(func() error {
				s.sample(ctx, sb)
				return nil
			})
		}
		_ = g.Wait()
	}
}

func (s *sampler) sample(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	view, own := sb.view, sb.guest
	sb.mu.Unlock()
	if view.State != shoal.StateRunning || own == nil {
		return
	}
	own.Tidy()
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	m, err := own.Client(view.EnvdAccessToken).Metrics(ctx)
	if err != nil {
		s.log.Debug("no metrics from a sandbox", "sandbox", sb.id, "error", err)
		return
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	sb.samples.add(m)
}

// Metrics returns the kept samples of a sandbox.
func (o *Orchestrator) Metrics(
	ctx context.Context, sandboxID string, from, to time.Time,
) ([]shoal.Metrics, error) {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return nil, err
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	var list []shoal.Metrics
	for _, m := range sb.samples.list {
		if !m.Time.Before(from) && !m.Time.After(to) {
			list = append(list, m)
		}
	}
	return list, nil
}
