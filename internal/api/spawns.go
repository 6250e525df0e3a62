package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/store"
)

const spawnPeriod = 5 * time.Second

// spawns counts the sandboxes of each template, so that no create waits for a
// write.
type spawns struct {
	mu     sync.Mutex // guards counts
	counts map[string]spawnCount
}

type spawnCount struct {
	n    int64
	last time.Time
}

func newSpawns() *spawns { return &spawns{counts: map[string]spawnCount{}} }

func (s *spawns) note(templateID string, at time.Time) {
	s.add(templateID, spawnCount{n: 1, last: at})
}

func (s *spawns) add(templateID string, more spawnCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[templateID]
	c.n += more.n
	if more.last.After(c.last) {
		c.last = more.last
	}
	s.counts[templateID] = c
}

// run stores the counts until ctx ends, and what is left then.
func (s *spawns) run(ctx context.Context, st *store.Store, log *slog.Logger) error {
	tick := time.NewTicker(spawnPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), spawnPeriod)
			defer cancel()
			return s.flush(flush, st)
		case <-tick.C:
			if err := s.flush(ctx, st); err != nil && ctx.Err() == nil {
				log.Warn("could not store how often templates were used", "error", err)
			}
		}
	}
}

func (s *spawns) flush(ctx context.Context, st *store.Store) error {
	s.mu.Lock()
	taken := s.counts
	s.counts = map[string]spawnCount{}
	s.mu.Unlock()
	var errs []error
	for id, c := range taken {
		if err := st.CountSpawns(ctx, id, c.n, c.last); err != nil {
			s.add(id, c)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
