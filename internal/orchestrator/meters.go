package orchestrator

import (
	"context"
	"net/http"
	goruntime "runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// operation is what is done with a sandbox, as meters name it.
type operation string

const (
	opCreate   operation = "create" // copies of forks too
	opResume   operation = "resume"
	opPause    operation = "pause"
	opSnapshot operation = "snapshot"
	opFork     operation = "fork" // all copies of one
	opKill     operation = "kill"
)

var operations = []operation{opCreate, opResume, opPause, opSnapshot, opFork, opKill}

// The outcomes of an operation: refused is the caller's fault, failed the machine's.
const (
	outcomeOK      = "ok"
	outcomeRefused = "refused"
	outcomeFailed  = "failed"
)

// meters count what the orchestrator does. docs/metrics.md describes them.
type meters struct {
	done    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	kills   *prometheus.CounterVec
	samples *prometheus.CounterVec
	round   prometheus.Histogram
}

func newMeters() *meters {
	m := &meters{
		done: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_sandbox_operations_total",
			Help: "What was done with sandboxes, by operation and outcome."}, []string{"operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "shoal_sandbox_operation_seconds",
			Help:    "How long operations took that ended well.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"operation"}),
		kills: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_sandbox_kills_total",
			Help: "Sandboxes that ended, by reason."}, []string{"reason"}),
		samples: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_sandbox_samples_total",
			Help: "Samples taken of running sandboxes; silent ones lack what the guest says."}, []string{"outcome"}),
		round: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shoal_sandbox_sampling_seconds",
			Help:    "How long it took to sample all running sandboxes once.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
	}
	for _, op := range operations {
		for _, outcome := range []string{outcomeOK, outcomeRefused, outcomeFailed} {
			m.done.WithLabelValues(string(op), outcome)
		}
		m.seconds.WithLabelValues(string(op))
	}
	for _, reason := range []shoal.KillReason{shoal.KillRequest, shoal.KillTimeout, shoal.KillAdmin,
		shoal.KillOrphaned, shoal.KillCrashed, shoal.KillDown} {
		m.kills.WithLabelValues(string(reason))
	}
	m.samples.WithLabelValues("answered")
	m.samples.WithLabelValues("silent")
	return m
}

// measure begins an operation on a sandbox, which is a span where ctx is in a trace; the returned
// function ends it, with the error that it ended by.
func (m *meters) measure(ctx context.Context, op operation, sandboxID string) (traced context.Context, end func(error)) {
	start := time.Now()
	traced, span := telemetry.Start(ctx, "orchestrator."+string(op))
	span.Set(telemetry.Sandbox, sandboxID)
	return traced, func(err error) {
		span.End(err)
		outcome := outcomeOK
		switch {
		case err == nil:
			m.seconds.WithLabelValues(string(op)).Observe(time.Since(start).Seconds())
		case shoal.AsError(err).Status < http.StatusInternalServerError:
			outcome = outcomeRefused
		default:
			outcome = outcomeFailed
		}
		m.done.WithLabelValues(string(op), outcome).Inc()
	}
}

// sampled counts a sample.
func (m *meters) sampled(s shoal.Sample) {
	if s.Silent() {
		m.samples.WithLabelValues("silent").Inc()
	} else {
		m.samples.WithLabelValues("answered").Inc()
	}
}

// Meters returns what counts and measures this machine.
func (o *Orchestrator) Meters() []prometheus.Collector {
	list := []prometheus.Collector{o.meters.done, o.meters.seconds, o.meters.kills, o.meters.samples, o.meters.round}
	for _, state := range []shoal.State{shoal.StateCreating, shoal.StateRunning, shoal.StatePausing, shoal.StatePaused,
		shoal.StateResuming, shoal.StateSnapshotting, shoal.StateKilling} {
		list = append(list, gauge("shoal_sandboxes", "Sandboxes on this machine, by state.", "state", string(state),
			func() float64 { return float64(o.table.inState(state)) }))
	}
	for pool, size := range map[string]func() int{"warm": o.keeper.warm.Size, "shells": o.keeper.shells.Size,
		"resting": o.table.resting} {
		list = append(list, gauge("shoal_pool_size", "Guests and kernels that wait for work, by pool.", "pool", pool,
			func() float64 { return float64(size()) }))
	}
	list = append(list, gauge("shoal_sandbox_starts_under_way", "Creates and resumes under way.", "", "",
		func() float64 { return float64(o.load.starting.Load()) }))
	return append(list, capacityMeters(o)...)
}

// capacityMeters measure what the machine has, and what running sandboxes were given.
func capacityMeters(o *Orchestrator) []prometheus.Collector {
	given := func(of func(shoal.Resources) int64) func() float64 {
		return func() float64 { return float64(o.table.given(of)) }
	}
	has := func(of func(capacity) int64) func() float64 {
		return func() float64 {
			c, err := readCapacity(o.cfg)
			if err != nil {
				return 0
			}
			return float64(of(c))
		}
	}
	plain := func(name, help string, read func() float64) prometheus.Collector {
		return gauge("shoal_machine_"+name, help, "", "", read)
	}
	return []prometheus.Collector{
		plain("cpus", "Processors of the machine.", func() float64 { return float64(goruntime.NumCPU()) }),
		plain("cpus_given", "Processors that running sandboxes may use at most.",
			given(func(r shoal.Resources) int64 { return int64(r.CPUCount) })),
		plain("memory_bytes", "Memory of the machine.", has(func(c capacity) int64 { return c.memory })),
		plain("memory_available_bytes", "Memory that can be had.", has(func(c capacity) int64 { return c.available })),
		plain("memory_given_bytes", "Memory that running sandboxes may use at most.",
			given(func(r shoal.Resources) int64 { return r.MemoryMB << 20 })),
		plain("disk_bytes", "Size of the file system of data-dir.", has(func(c capacity) int64 { return c.disk })),
		plain("disk_available_bytes", "What of it is free.", has(func(c capacity) int64 { return c.freeDisk })),
		plain("disk_given_bytes", "Disk that running sandboxes may use at most.",
			given(func(r shoal.Resources) int64 { return r.DiskMB << 20 })),
	}
}

// gauge reads a value when it is asked for; an empty label is none.
func gauge(name, help, label, value string, read func() float64) prometheus.Collector {
	opts := prometheus.GaugeOpts{Name: name, Help: help}
	if label != "" {
		opts.ConstLabels = prometheus.Labels{label: value}
	}
	return prometheus.NewGaugeFunc(opts, read)
}

// inState counts the sandboxes in a state.
func (t *table) inState(state shoal.State) (n int) {
	for _, sb := range t.all() {
		if sb.viewNow().State == state {
			n++
		}
	}
	return n
}

// resting counts the paused sandboxes whose guest rests.
func (t *table) resting() (n int) {
	for _, sb := range t.all() {
		if !sb.resting().IsZero() {
			n++
		}
	}
	return n
}

// given adds up what the sandboxes with a guest of their own may use.
func (t *table) given(of func(shoal.Resources) int64) (sum int64) {
	for _, sb := range t.all() {
		if view := sb.viewNow(); view.State != shoal.StatePaused {
			sum += of(view.Resources)
		}
	}
	return sum
}
