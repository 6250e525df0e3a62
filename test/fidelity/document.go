package main

import (
	"fmt"
	"os"
	"strings"
)

// The tables are between these lines of the document.
const (
	begins = "<!-- written by make test-guest -->"
	ends   = "<!-- until here -->"
)

// renew puts the tables into a document, in place of those that are there. Programs that
// were not tried keep their rows.
func renew(file string, tried *results) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, tables, tail, err := split(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(head+render(kinds, tried.all, readRows(tables))+tail), 0o644)
}

// split divides a document into what is before, between and after the marks, which belong to
// the first and the last part.
func split(text string) (head, tables, tail string, err error) {
	head, rest, found := strings.Cut(text, begins+"\n")
	tables, tail, closed := strings.Cut(rest, ends)
	if !found || !closed {
		return "", "", "", fmt.Errorf("the lines %q and %q are missing", begins, ends)
	}
	return head + begins + "\n", tables, ends + tail, nil
}

// readRows returns the rows of tables by the name of their program.
func readRows(tables string) map[string]string {
	rows := map[string]string{}
	for line := range strings.Lines(tables) {
		if cells := strings.Split(line, " | "); len(cells) == 5 && strings.HasPrefix(line, "| ") {
			rows[strings.TrimPrefix(cells[0], "| ")] = line
		}
	}
	return rows
}

// render makes a table of each kind, with the rows of what was tried and, for the other
// programs, the old ones. Programs that have neither are left out.
func render(kinds []kind, tried map[string]result, old map[string]string) string {
	var b strings.Builder
	for _, k := range kinds {
		var rows strings.Builder
		for _, p := range k.programs {
			if r, now := tried[p.name]; now {
				rows.WriteString(p.row(r))
			} else {
				rows.WriteString(old[p.name])
			}
		}
		if rows.Len() > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n| Program | What was done | Works | After a pause | Note |\n"+
				"|---|---|---|---|---|\n%s", k.name, rows.String())
		}
	}
	return b.String() + "\n"
}

func (p program) row(r result) string {
	note := p.note
	if r.why != "" {
		note = strings.TrimSpace("**" + string(fails) + ":** " + oneLine(r.why) + " " + note)
	} else if note == "" {
		note = "–"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", p.name, p.does, r.before, r.after, note)
}

// oneLine shortens a message to what fits a cell.
func oneLine(text string) string {
	const most = 300
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}
