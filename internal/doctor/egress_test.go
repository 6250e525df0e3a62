package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"shoal/internal/egress"
)

// TestEgressProcesses: what is wrong with them is told with what mends it.
func TestEgressProcesses(t *testing.T) {
	now := time.Now()
	fine := egress.Found{PID: 7, Build: "1.2.3 100 200", Sandboxes: 2, Connections: 5}
	hung, ended, old, draining, long, blind := fine, fine, fine, fine, fine, fine
	hung.Err, ended.Ended, old.Build = errors.New("no answer"), true, "1.2.2 100 200"
	draining.Draining, draining.DrainingSince = true, now.Add(-90*time.Second)
	long.Draining, long.DrainingSince = true, now.Add(-50*time.Hour)
	blind.Draining = true // of a version that does not tell since when
	for name, c := range map[string]struct {
		found []egress.Found
		level Level
		says  string
	}{
		"none":     {nil, OK, "none"},
		"fine":     {[]egress.Found{fine}, OK, "serves 2 sandboxes with 5 connections"},
		"hung":     {[]egress.Found{hung}, Warn, "does not answer"},
		"ended":    {[]egress.Found{ended}, Note, "has ended"},
		"old":      {[]egress.Found{old}, Note, "another version: 1.2.2"},
		"draining": {[]egress.Found{fine, draining}, OK, "that has taken 1m30s"},
		"long":     {[]egress.Found{fine, long}, Note, "that has taken 50h0m0s"},
		"blind":    {[]egress.Found{fine, blind}, OK, "ends with the last of 5"},
		"two":      {[]egress.Found{fine, fine}, Warn, "there should be one"},
	} {
		results := judgeEgress(c.found, "1.2.3", now)
		var text strings.Builder
		Print(&text, results)
		if Worst(results) != c.level || !strings.Contains(text.String(), c.says) {
			t.Errorf("%s: %s", name, text.String())
		}
		for _, r := range results {
			if (r.Fix == "") != (r.Level == OK) || r.Name != "egress process" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}
