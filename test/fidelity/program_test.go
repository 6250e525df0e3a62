package main

import (
	"strings"
	"testing"
)

// TestPrograms: entries are complete, and their names can be asked for and found again.
func TestPrograms(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range kinds {
		if strings.Contains(k.name, ",") {
			t.Errorf("the kind %q cannot be asked for", k.name)
		}
		for _, p := range k.programs {
			switch {
			case seen[p.name] || p.name == "" || strings.ContainsAny(p.name+p.does+p.note, "|\n") ||
				strings.Contains(p.name, ","):
				t.Errorf("the name, description or note of %q cannot be in a table", p.name)
			case p.does == "" || p.task == "" || p.prints == "":
				t.Errorf("%s has no description, no task, or a task that need not print anything", p.name)
			case (p.session == "") != (p.ready == ""):
				t.Errorf("%s has a session without ready, or the other way round", p.name)
			case p.gap != "" && p.note == "":
				t.Errorf("%s has a gap without a note", p.name)
			}
			seen[p.name] = true
		}
	}
}

// TestChoose: programs are chosen by name and by kind, and a name that is none is an error.
func TestChoose(t *testing.T) {
	first := kinds[0]
	for _, c := range []struct {
		only string
		want int
	}{{first.programs[0].name + "," + first.programs[1].name, 2}, {first.name, len(first.programs)}} {
		chosen, err := choose(c.only)
		if err != nil || len(chosen) != 1 || len(chosen[0].programs) != c.want {
			t.Errorf("%q: %d kinds, error %v", c.only, len(chosen), err)
		}
	}
	if _, err := choose(first.name + ",no such program"); err == nil {
		t.Error("a program that does not exist is accepted")
	}
	if got := len(kinds[0].programs); got != len(first.programs) {
		t.Errorf("choosing changed the list: %d programs", got)
	}
}
