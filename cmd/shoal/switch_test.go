package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// TestSwitchCommands: what an operator switches is seen where it counts, and nowhere else.
func TestSwitchCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	off := func(flags string) string {
		t.Helper()
		var rows []listedSwitch
		if err := json.Unmarshal([]byte(must("switch list --json "+flags)), &rows); err != nil || len(rows) != len(shoal.EverySwitch()) {
			t.Fatalf("%v, %v", rows, err)
		}
		var names []string
		for _, row := range rows {
			if !row.On {
				names = append(names, row.Name)
			}
		}
		return strings.Join(names, " ")
	}
	for _, slug := range []string{"acme", "other"} {
		must("team create " + slug)
	}
	for _, step := range []struct{ line, all, acme, other string }{
		{"switch list", "", "", ""},
		{"switch off forks", "forks", "forks", "forks"},
		{"switch off logs --team=acme", "forks", "forks logs", "forks"},
		{"switch on forks --team=acme", "forks", "logs", "forks"},
		{"switch on forks", "", "logs", ""},
		{"switch off forks", "forks", "logs", "forks"},
		{"switch reset forks --team=acme", "forks", "forks logs", "forks"},
		{"switch on logs --team=acme", "forks", "forks", "forks"},
		{"switch reset forks", "", "", ""},
	} {
		must(step.line)
		if all, acme, other := off(""), off("--team=acme"), off("--team=other"); all != step.all || acme != step.acme || other != step.other {
			t.Errorf("%s: %q, %q, %q", step.line, all, acme, other)
		}
	}
	must("switch on events --team=acme")
	if got := off("--team=acme --switch-off=events,metrics"); got != "events metrics" {
		t.Errorf("with the configuration: %q", got)
	}
	// What is on is seen as well, and what is off with the reason.
	must("switch off forks")
	out := must("check --switch-off=logs")
	for _, want := range []string{"by the database", "# builds: on", "# forks: off\n", "# logs: off (configuration)"} {
		if !strings.Contains(out, want) {
			t.Errorf("shoal check does not say %q:\n%s", want, out)
		}
	}
	empty := t.TempDir()
	if out := commander(t, empty)("check"); !strings.Contains(out, "by the configuration alone") || !strings.Contains(out, "# forks: on") {
		t.Errorf("without a database: %s", out)
	}
	if _, err := os.Stat(filepath.Join(empty, "shoal.db")); err == nil {
		t.Error("shoal check has made a database")
	}
	for line, want := range map[string]*shoal.Kind{"switch on events --switch-off=events": shoal.ErrSwitchFixed,
		"switch off luck": shoal.ErrSwitchNotFound} {
		if _, err := command(t, dir, line); !want.Matches(err) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
