package main

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for wanted, want := range map[string]string{
		"warm":               "warm: frozen first burst burst-empty empty resting fork",
		"tar":                "inside: tar",
		"create,loop,cold":   "cold: create command transfer pause memory\npeople: loop",
		"auth,service-redis": "service: auth\nservice-redis: auth-redis events-redis requests-redis",
	} {
		chosen, err := choose(wanted)
		if got := list(chosen); err != nil || got != want {
			t.Errorf("%s: %v\n%s", wanted, err, got)
		}
	}
	all, err := choose("")
	if err != nil {
		t.Fatal(err)
	}
	if got := list(all); strings.Contains(got, "interpreter") || !strings.Contains(got, "templates: builds serving") {
		t.Errorf("without a name:\n%s", got)
	}
	if _, err := choose("create,creat"); err == nil || !strings.Contains(err.Error(), `"creat"`) {
		t.Errorf("a row that does not exist: %v", err)
	}
}

// TestNames fails for a name that stands for two things.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups {
		names := []string{g.name}
		for _, r := range g.rows {
			names = append(names, r.name)
		}
		for _, name := range names {
			if seen[name] {
				t.Errorf("%s is the name of two", name)
			}
			seen[name] = true
		}
	}
}
