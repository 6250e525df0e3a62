package orchestrator

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/egress/ledger"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/series"
)

const (
	sampleTimeout = 2 * time.Second
	sampleWorkers = 4
	// silentRounds is how many rounds a guest is left alone after it did not answer: waiting for
	// such guests must not keep the others from being asked in time.
	silentRounds = 6
)

// sampler measures running guests.
type sampler struct {
	table  *table
	series *series.Series // nil keeps nothing
	meters *meters
	log    *slog.Logger
}

// measured is what the sampler remembers of a sandbox. Only its round uses it.
type measured struct {
	guest *guest.Guest
	at    time.Time
	cpu   time.Duration
	skips int // rounds until the guest is asked again
}

// Run samples every running guest, and tidies it, until ctx ends.
func (s *sampler) Run(ctx context.Context) error {
	tick := time.NewTicker(shoal.SamplePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		s.round(ctx)
	}
}

func (s *sampler) round(ctx context.Context) {
	start := time.Now()
	g := new(errgroup.Group)
	g.SetLimit(sampleWorkers)
	for _, sb := range s.table.all() {
		g.Go(func() error {
			s.sample(ctx, sb)
			return nil
		})
	}
	_ = g.Wait()
	s.meters.round.Observe(time.Since(start).Seconds())
}

func (s *sampler) sample(ctx context.Context, sb *sandbox) {
	sb.mu.Lock()
	view, own := sb.view, sb.guest
	sb.mu.Unlock()
	if view.State != shoal.StateRunning || own == nil {
		return
	}
	own.Tidy()
	if s.series == nil {
		return
	}
	sample := shoal.Sample{Metrics: s.ask(ctx, sb, view.EnvdAccessToken, own)}
	if sb.viewNow().State != shoal.StateRunning || own.Ended() || ctx.Err() != nil {
		return // a pause or the end is why it was silent
	}
	if sample.Silent() {
		sample.Time = time.Now().UTC()
	}
	s.meters.sampled(sample)
	sample.Host = sb.measured.look(ctx, own, sample.Time)
	s.series.Add(series.Source{SandboxID: sb.id, TeamID: view.TeamID}, sample)
}

// ask asks a guest what it uses, unless it was silent lately. The zero value is no answer.
func (s *sampler) ask(ctx context.Context, sb *sandbox, token string, own *guest.Guest) shoal.Metrics {
	if sb.measured.guest == own && sb.measured.skips > 0 {
		sb.measured.skips--
		return shoal.Metrics{}
	}
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	m, err := own.Client(token).Metrics(ctx)
	if err != nil {
		sb.measured.skips = silentRounds - 1
		s.log.Debug("no metrics from a sandbox", "sandbox", sb.id, "error", err)
		return shoal.Metrics{}
	}
	sb.measured.skips = 0
	return m
}

// look is what the machine sees the guest use.
func (m *measured) look(ctx context.Context, own *guest.Guest, now time.Time) shoal.HostUse {
	var use shoal.HostUse
	cpu := own.CPUTime()
	if over := now.Sub(m.at); m.guest == own && over > 0 && cpu >= m.cpu {
		use.CPUUsedPct = 100 * float64(cpu-m.cpu) / float64(over)
	}
	m.guest, m.at, m.cpu = own, now, cpu
	if stats, err := own.Stats(ctx); err == nil {
		use.MemBytes, use.HeldBytes, use.DiskBytes = stats.MemoryBytes, stats.HeldBytes, stats.DiskBytes
	}
	return use
}

// history is what the machine remembers of its sandboxes beyond their end, besides their logs.
type history struct {
	series *series.Series // nil keeps nothing
	ledger *ledger.Store  // nil keeps nothing
	tally  *tally
}

// EgressRecords returns what became of connections of a team's sandbox, which may have ended.
func (h history) EgressRecords(
	ctx context.Context, sandboxID string, q shoal.EgressQuery,
) ([]shoal.EgressRecord, error) {
	if h.ledger == nil {
		return nil, nil
	}
	return h.ledger.Query(ctx, sandboxID, q)
}

// Metrics returns what a sandbox used, which may have ended.
func (h history) Metrics(ctx context.Context, sandboxID string, q shoal.MetricsQuery) ([]shoal.Sample, error) {
	if h.series == nil {
		return nil, nil
	}
	return h.series.Query(ctx, sandboxID, q)
}

// LatestMetrics returns what a team's sandboxes used last.
func (h history) LatestMetrics(
	ctx context.Context, teamID string, sandboxIDs []string,
) (map[string]shoal.Sample, error) {
	if h.series == nil {
		return nil, nil
	}
	return h.series.Latest(ctx, teamID, sandboxIDs)
}

// Tallies returns how many sandboxes teams had, as far as it has been counted after a time.
func (h history) Tallies(_ context.Context, after time.Time) ([]shoal.Tally, error) {
	return h.tally.after(after), nil
}
