// Package series keeps what one machine's sandboxes use, for some time after they have ended
// too. Samples are not essential: those of the last minute are lost when the process is killed,
// and an unusable database is replaced by an empty one.
package series

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/shoal"
)

const (
	// writePeriod is how long samples wait in memory. One write a minute for all sandboxes costs
	// next to nothing; one for each sample would cost more than taking it.
	writePeriod = time.Minute
	tidyPeriod  = 10 * time.Minute
	// maxPending bounds the samples of a sandbox that wait while the keeper fails: an hour's.
	maxPending = 720
)

// Source is the sandbox that samples are of.
type Source struct{ SandboxID, TeamID string }

// Batch is samples of one sandbox, oldest first.
type Batch struct {
	Source
	Samples []shoal.Sample
}

// Keeper is where batches are kept: on this machine's disk ([OpenDisk]) or on a server. Its
// methods may be called at any time.
type Keeper interface {
	// Append keeps batches, all of them or, after an error, none.
	Append(ctx context.Context, batches []Batch) error
	// Extent returns whose a sandbox is, and the times of its first and its last sample. Both
	// are zero if nothing of it is kept.
	Extent(ctx context.Context, sandboxID string) (teamID string, first, last time.Time, err error)
	// Visit passes on a sandbox's samples of a range of time, and maybe some from before and
	// after it.
	Visit(ctx context.Context, sandboxID string, from, to time.Time, visit func(shoal.Sample)) error
	// Tidy removes what is older than a time.
	Tidy(ctx context.Context, before time.Time) error
	Close() error
}

// Series is the samples of a machine's sandboxes. It is safe for concurrent use.
type Series struct {
	keeper Keeper
	log    *slog.Logger

	writing sync.Mutex // held during a write; taken before mu

	mu      sync.Mutex // guards the rest
	pending map[string]*Batch
	// underWay is what a write is about to keep.
	underWay map[string]*Batch
}

// New returns a series that keeps its samples by a keeper, which it closes.
func New(keeper Keeper, log *slog.Logger) *Series {
	return &Series{keeper: keeper, log: log, pending: map[string]*Batch{}}
}

// Add adds a sample of a sandbox. It does not block for long.
func (s *Series) Add(from Source, sample shoal.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.pending[from.SandboxID]
	if !ok {
		b = &Batch{Source: from}
		s.pending[from.SandboxID] = b
	}
	if len(b.Samples) >= maxPending {
		b.Samples = append(b.Samples[:0], b.Samples[1:]...)
	}
	b.Samples = append(b.Samples, sample)
}

// Run writes what has been added, and removes what is too old, until ctx ends.
func (s *Series) Run(ctx context.Context) error {
	write, tidy := time.NewTicker(writePeriod), time.NewTicker(tidyPeriod)
	defer write.Stop()
	defer tidy.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-write.C:
			err = s.write(ctx)
		case <-tidy.C:
			err = s.keeper.Tidy(ctx, time.Now().Add(-shoal.MetricRetention))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("could not write what sandboxes use", "error", err)
		}
	}
}

// Close writes what is left. Run must have ended.
func (s *Series) Close() error {
	if err := s.write(context.Background()); err != nil {
		s.log.Warn("could not write what sandboxes used last", "error", err)
	}
	return s.keeper.Close()
}

// write has everything kept that was added so far. After an error it is added again.
func (s *Series) write(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.underWay, s.pending = s.pending, make(map[string]*Batch, len(s.pending))
	batches := make([]Batch, 0, len(s.underWay))
	for _, b := range s.underWay {
		batches = append(batches, *b)
	}
	s.mu.Unlock()
	if len(batches) == 0 {
		return nil
	}
	err := s.keeper.Append(ctx, batches)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.putBackLocked()
	}
	s.underWay = nil
	return err
}

// putBackLocked adds again what could not be kept; s.mu is held.
func (s *Series) putBackLocked() {
	for id, b := range s.underWay {
		if later, ok := s.pending[id]; ok {
			b.Samples = append(b.Samples, later.Samples...)
		}
		if excess := len(b.Samples) - maxPending; excess > 0 {
			b.Samples = b.Samples[excess:]
		}
		s.pending[id] = b
	}
}

// waiting returns the samples of a sandbox that the keeper need not have yet.
func (s *Series) waiting(sandboxID string) (teamID string, samples []shoal.Sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, some := range []map[string]*Batch{s.underWay, s.pending} {
		if b, ok := some[sandboxID]; ok {
			teamID, samples = b.TeamID, append(samples, b.Samples...)
		}
	}
	return teamID, samples
}

// Query returns the maximum of each step of a range of time, oldest first. There is none of an
// unknown sandbox, or of another team's.
func (s *Series) Query(ctx context.Context, sandboxID string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	// In this order, since a write moves samples from the one to the other.
	teamID, recent := s.waiting(sandboxID)
	keptTeam, first, last, err := s.keeper.Extent(ctx, sandboxID)
	if err != nil {
		return nil, fmt.Errorf("read what a sandbox used: %w", err)
	}
	if teamID == "" {
		teamID = keptTeam
	}
	if teamID == "" || !q.Operator && teamID != q.TeamID {
		return nil, nil
	}
	if n := len(recent); n > 0 {
		if last = recent[n-1].Time; first.IsZero() {
			first = recent[0].Time
		}
	}
	from, to := rangeOf(q, first, last)
	out := newBuckets(shoal.MetricStep(to.Sub(from)))
	from, to = latest(from, time.Now().Add(-shoal.MetricRetention)), earliest(to, last)
	add := func(sample shoal.Sample) {
		if !sample.Time.Before(from) && !sample.Time.After(to) && (q.Operator || !sample.Silent()) {
			out.add(sample)
		}
	}
	for _, sample := range recent {
		add(sample)
	}
	err = s.keeper.Visit(ctx, sandboxID, from, to, func(sample shoal.Sample) {
		if len(recent) == 0 || sample.Time.Before(recent[0].Time.Truncate(time.Millisecond)) {
			add(sample)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read what a sandbox used: %w", err)
	}
	return out.list(), nil
}

// rangeOf is the range of time of a query, by which its step is chosen.
func rangeOf(q shoal.MetricsQuery, first, last time.Time) (from, to time.Time) {
	from, to = q.From, q.To
	switch {
	case from.IsZero() && to.IsZero():
		return first, last
	case to.IsZero():
		return from, time.Now()
	case from.IsZero():
		return earliest(first, to), to
	}
	return from, to
}

// Latest returns the last sample of each of a team's sandboxes. Those that nothing is known of,
// and those of other teams, are left out.
func (s *Series) Latest(ctx context.Context, teamID string, sandboxIDs []string) (map[string]shoal.Sample, error) {
	latest := map[string]shoal.Sample{}
	for _, id := range sandboxIDs {
		sample, err := s.last(ctx, teamID, id)
		if err != nil {
			return nil, fmt.Errorf("read what a sandbox uses: %w", err)
		}
		if !sample.Silent() {
			latest[id] = sample
		}
	}
	return latest, nil
}

func (s *Series) last(ctx context.Context, teamID, sandboxID string) (found shoal.Sample, err error) {
	take := func(sample shoal.Sample) {
		if !sample.Silent() && sample.Time.After(found.Time) {
			found = sample
		}
	}
	team, recent := s.waiting(sandboxID)
	for _, sample := range recent {
		take(sample)
	}
	if found.Silent() {
		var last time.Time
		if team, _, last, err = s.keeper.Extent(ctx, sandboxID); err != nil || team != teamID {
			return shoal.Sample{}, err
		}
		err = s.keeper.Visit(ctx, sandboxID, last.Add(-writePeriod), last, take)
	}
	if team != teamID {
		return shoal.Sample{}, err
	}
	return found, err
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if a.After(b) {
		return b
	}
	return a
}
