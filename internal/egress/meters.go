package egress

import (
	"github.com/prometheus/client_golang/prometheus"
)

// meters are what the operator is told of the processes (docs/metrics.md). A process counts until
// its steward takes the counts, so they go on through restarts of either.
type meters struct {
	families map[string]*prometheus.CounterVec
	ends     *prometheus.CounterVec
}

// The ways in which a process that sandboxes need can end by itself.
const (
	endedItself = "ended"
	endedHung   = "hung"
)

func newMeters() *meters {
	counter := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_egress_" + name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		return c
	}
	refusals := []string{reasonHandshake}
	for reason := range reasons {
		refusals = append(refusals, reason)
	}
	return &meters{
		families: map[string]*prometheus.CounterVec{
			familyConnections: counter("connections_total", "Connections of sandboxes with rules about names, by outcome.",
				"outcome", outcomeAllowed, outcomeDenied, outcomeEncrypted, outcomeFailed, outcomeUnresolved,
				outcomeSilent, outcomeCrowded),
			familyBytes: counter("bytes_total", "Bytes that sandboxes sent and received by these connections.",
				"direction", directionSent, directionReceived),
			familyRefusals: counter("transform_refusals_total", "Connections with transforms that failed, by reason.",
				"reason", refusals...),
			familyFills: counter("fills_total", "Requests whose headers were to get values of secrets or tokens, by outcome.",
				"outcome", outcomeFilled, outcomeFailed),
		},
		ends: counter("process_losses_total", "Egress processes that ended with connections, or were ended because they hung.",
			"reason", endedItself, endedHung),
	}
}

// add adds what a process has counted.
func (m *meters) add(counted totals) {
	for family, byLabel := range counted {
		c := m.families[family]
		if c == nil {
			continue
		}
		for label, n := range byLabel {
			if n > 0 {
				c.WithLabelValues(label).Add(float64(n))
			}
		}
	}
}

// Meters returns what counts and measures the processes. docs/metrics.md describes it.
func (s *Steward) Meters() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, read func(view) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_egress_" + name, Help: help, ConstLabels: labels},
			func() float64 { return float64(read(s.view())) })
	}
	list := []prometheus.Collector{s.meters.ends,
		gauge("open_connections", "Connections that the processes have.", nil, func(v view) int { return v.connections }),
		gauge("sandboxes", "Sandboxes whose connections the process takes.", nil, func(v view) int { return v.sandboxes })}
	for _, c := range s.meters.families {
		list = append(list, c)
	}
	for state, read := range map[string]func(view) int{"serving": func(v view) int { return v.serving },
		"draining": func(v view) int { return v.draining }, "silent": func(v view) int { return v.silent }} {
		list = append(list, gauge("processes", "Egress processes, by state.", prometheus.Labels{"state": state}, read))
	}
	return list
}

// view is the processes as they were when they answered last.
type view struct{ serving, draining, silent, connections, sandboxes int }

// view does not wait for a process.
func (s *Steward) view() (v view) {
	for _, p := range s.all() {
		switch {
		case p.silent.Load() > 0:
			v.silent++
		case p.stateNow().Draining:
			v.draining++
		default:
			v.serving++
		}
		v.connections += p.stateNow().Connections
	}
	s.known.Range(func(any, any) bool { v.sandboxes++; return true })
	return v
}
