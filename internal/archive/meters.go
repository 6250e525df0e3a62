package archive

import "github.com/prometheus/client_golang/prometheus"

func newReads() *prometheus.CounterVec {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_archive_reads_total",
		Help: "Questions to the ClickHouse server, by outcome."}, []string{"outcome"})
	for _, outcome := range []string{"answered", "failed", "skipped"} {
		reads.WithLabelValues(outcome)
	}
	return reads
}

// Meters returns what measures the archive. docs/metrics.md describes it.
func (a *Archive) Meters() []prometheus.Collector {
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_archive_up",
		Help: "Whether the ClickHouse server can be used."}, func() float64 {
		if a.Err() != nil {
			return 0
		}
		return 1
	})
	return []prometheus.Collector{a.reads, up}
}

// meters measure one copier. Those of several are told apart by kind, also in one process.
type meters struct {
	rows, failures prometheus.Counter
}

func newMeters(kind string) meters {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help,
			ConstLabels: prometheus.Labels{"kind": kind}})
	}
	return meters{
		rows:     counter("shoal_archive_rows_total", "Rows copied to the ClickHouse server."),
		failures: counter("shoal_archive_failures_total", "Batches that could not be copied, each time."),
	}
}

// Meters returns what measures the copier.
func (c *Copier) Meters() []prometheus.Collector {
	lag := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_archive_lag_seconds",
		Help:        "Age of the oldest row that is still to be copied to the ClickHouse server.",
		ConstLabels: prometheus.Labels{"kind": c.kind}}, func() float64 { return c.Lag().Seconds() })
	return []prometheus.Collector{c.meters.rows, c.meters.failures, lag}
}
