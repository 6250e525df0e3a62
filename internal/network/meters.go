package network

import "github.com/prometheus/client_golang/prometheus"

// The outcomes of guests' queries, as meters name them.
const (
	dnsAnswered = "answered"
	dnsRefused  = "refused" // by the guest's policy, or as no lookup
	dnsCrowded  = "crowded" // too many in flight
	dnsFailed   = "failed"  // no resolver answered
)

func newQueryCounter() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_dns_queries_total",
		Help: "Guests' DNS queries, by outcome."}, []string{"outcome"})
	for _, outcome := range []string{dnsAnswered, dnsRefused, dnsCrowded, dnsFailed} {
		c.WithLabelValues(outcome)
	}
	return c
}

// Meters returns what counts and measures the slots. docs/metrics.md describes it.
func (p *Pool) Meters() []prometheus.Collector {
	slots := func(state string, read func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_slots",
			Help:        "Network slots, by state: ready ones wait for a guest.",
			ConstLabels: prometheus.Labels{"state": state}}, func() float64 { return float64(read()) })
	}
	return []prometheus.Collector{p.dns.counter,
		slots("ready", func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.ready)
		}),
		slots("used", func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.taken) - len(p.ready)
		})}
}
