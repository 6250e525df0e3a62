package build

import "github.com/prometheus/client_golang/prometheus"

// meters count builds that have ended. docs/metrics.md describes them.
type meters struct {
	ended   *prometheus.CounterVec
	seconds prometheus.Histogram
}

// The outcomes of builds; one that was cancelled has failed.
const (
	outcomeReady  = "ready"
	outcomeFailed = "failed"
)

func newMeters() *meters {
	m := &meters{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_builds_total",
			Help: "Template builds that have ended, by outcome."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shoal_build_seconds",
			Help: "How long builds took that ended well.", Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600}}),
	}
	m.ended.WithLabelValues(outcomeReady)
	m.ended.WithLabelValues(outcomeFailed)
	return m
}

// Meters returns what counts and measures the queue.
func (q *Queue) Meters() []prometheus.Collector {
	builds := func(state string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_builds_open",
			Help: "Template builds that this process has under way, by state.", ConstLabels: prometheus.Labels{"state": state}},
			func() float64 {
				q.mu.Lock()
				defer q.mu.Unlock()
				return float64(read())
			})
	}
	return []prometheus.Collector{q.meters.ended, q.meters.seconds,
		builds("queued", func() int { return len(q.pending) }),
		builds("running", func() int { return q.busy })}
}
