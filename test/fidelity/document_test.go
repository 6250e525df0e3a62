package main

import (
	"os"
	"strings"
	"testing"
)

// TestRender: what was tried has a new row, what was not keeps its own, and what is no longer
// a program has none.
func TestRender(t *testing.T) {
	list := []kind{{name: "Some", programs: []program{{name: "new", does: "a thing", note: "a hint"},
		{name: "kept", does: "other words"}, {name: "broken", does: "x"}, {name: "never tried"}}},
		{name: "Empty", programs: []program{{name: "nor this"}}}}
	old := readRows("\n### Some\n\n| Program | What was done | Works | After a pause | Note |\n|---|---|---|---|---|\n" +
		"| kept | words | ok | ok | – |\n| gone | words | ok | ok | – |\n")
	got := render(list, map[string]result{"new": {before: ok, after: ok},
		"broken": {before: ok, after: fails, why: "a | b\nc"}}, old)
	want := "\n### Some\n\n| Program | What was done | Works | After a pause | Note |\n|---|---|---|---|---|\n" +
		"| new | a thing | ok | ok | a hint |\n| kept | words | ok | ok | – |\n" +
		"| broken | x | ok | fails | **fails:** a \\| b c |\n\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestSplit: a document is made of its parts again, and one without marks is refused.
func TestSplit(t *testing.T) {
	text := "before\n" + begins + "\ntables\n" + ends + "\nafter\n"
	head, tables, tail, err := split(text)
	if err != nil || head+tables+tail != text || tables != "tables\n" {
		t.Errorf("%q %q %q %v", head, tables, tail, err)
	}
	if _, _, _, err := split("no marks"); err == nil {
		t.Error("a document without marks is accepted")
	}
}

// TestDocument holds docs/guest.md to the lists: every program has a row, and none of them
// says that it fails. A program that does not work needs a gap and a way round.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _, err := split(string(text))
	if err != nil {
		t.Fatal(err)
	}
	rows := readRows(tables)
	for _, k := range kinds {
		for _, p := range k.programs {
			switch row, there := rows[p.name]; {
			case !there:
				t.Errorf("%s was never tried: make test-guest GUEST='%s'", p.name, p.name)
			case strings.Contains(row, "| "+string(fails)+" |"):
				t.Errorf("%s", row)
			}
		}
	}
}
