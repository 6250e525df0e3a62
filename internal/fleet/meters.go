package fleet

import (
	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/shoal"
)

// Meters returns what measures the fleet. docs/metrics.md describes it.
func (f *Fleet) Meters() []prometheus.Collector {
	var list []prometheus.Collector
	for _, status := range []shoal.NodeStatus{shoal.NodeReady, shoal.NodeDraining, shoal.NodeUnhealthy} {
		list = append(list, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "shoal_nodes",
			Help: "Machines, by status.", ConstLabels: prometheus.Labels{"status": string(status)}},
			func() (n float64) {
				for _, m := range f.members {
					if m.view().Info.Status == status {
						n++
					}
				}
				return n
			}))
	}
	return list
}
