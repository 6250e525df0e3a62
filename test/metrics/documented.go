// Package metrics holds what Shoal exports for Prometheus, the queries in deploy/grafana, and
// the table in docs/metrics.md to each other.
package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Metric is a row of the table.
type Metric struct {
	Type   string
	Labels []string // sorted
	Text   string   // what it tells
}

var quoted = regexp.MustCompile("`([^`]+)`")

// Documented reads the table of a repository.
func Documented(root string) (map[string]Metric, error) {
	data, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return nil, err
	}
	table := map[string]Metric{}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || !strings.HasPrefix(cells[1], " `shoal_") {
			continue
		}
		m := Metric{Type: strings.TrimSpace(cells[2]), Text: cells[4]}
		for _, label := range quoted.FindAllStringSubmatch(cells[3], -1) {
			m.Labels = append(m.Labels, label[1])
		}
		slices.Sort(m.Labels)
		table[quoted.FindStringSubmatch(cells[1])[1]] = m
	}
	if len(table) == 0 {
		return nil, fmt.Errorf("%s has no table", "docs/metrics.md")
	}
	return table, nil
}
