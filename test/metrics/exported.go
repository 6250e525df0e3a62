package metrics

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Families parses what a process exports.
func Families(body io.Reader) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(body)
}

// Differences lists how exported metrics of Shoal's own differ from the table: unknown ones,
// and others of their type or labels.
func Differences(families map[string]*dto.MetricFamily, table map[string]Metric) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "promhttp_") {
			continue
		}
		row, known := table[name]
		if !known {
			list = append(list, name+" is not documented")
			continue
		}
		family := families[name]
		if got := strings.ToLower(family.GetType().String()); got != row.Type {
			list = append(list, fmt.Sprintf("%s is a %s, not a %s", name, got, row.Type))
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, pair := range m.GetLabel() {
				labels = append(labels, pair.GetName())
			}
			slices.Sort(labels)
			if !slices.Equal(labels, row.Labels) {
				list = append(list, fmt.Sprintf("%s has the labels %v, not %v", name, labels, row.Labels))
				break
			}
		}
	}
	return list
}
