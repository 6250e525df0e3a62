package live

import "github.com/prometheus/client_golang/prometheus"

type meters struct {
	alone   prometheus.Counter
	leading *prometheus.GaugeVec
	list    []prometheus.Collector
}

func newMeters(r *Redis) *meters {
	m := &meters{
		alone: prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_redis_unanswered_total",
			Help: "Questions to Redis that this api had to answer by itself."}),
		leading: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "shoal_duty_leading",
			Help: "Whether this api does what one of them need do."}, []string{"duty"}),
	}
	up := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_redis_up",
		Help: "Whether Redis answers and brings news of other apis."}, func() float64 {
		return map[bool]float64{true: 1}[r.Degraded() == nil]
	})
	apis := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_apis",
		Help: "Apis of the installation, as Redis last knew."}, func() float64 { return float64(r.apis.Load()) })
	m.list = []prometheus.Collector{m.alone, m.leading, up, apis}
	return m
}

// Meters returns what measures the connection. docs/metrics.md describes it.
func (r *Redis) Meters() []prometheus.Collector { return r.meters.list }
