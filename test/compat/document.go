package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The tables are between these lines of the document.
const (
	begins = "<!-- written by make compat -->"
	ends   = "<!-- until here -->"
)

// render makes a table for each heading: a column for each client, a row for each feature.
func render(clients []*client) string {
	var b strings.Builder
	for len(clients) > 0 {
		next := slices.IndexFunc(clients, func(c *client) bool { return c.table != clients[0].table })
		if next < 0 {
			next = len(clients)
		}
		writeTable(&b, clients[:next])
		clients = clients[next:]
	}
	return b.String()
}

func writeTable(b *strings.Builder, clients []*client) {
	fmt.Fprintf(b, "\n## %s\n\n|", clients[0].table)
	var features []string
	for _, c := range clients {
		fmt.Fprintf(b, " | `%s` %s", c.pkg, c.version)
		for _, r := range c.results {
			if !slices.Contains(features, r.Feature) {
				features = append(features, r.Feature)
			}
		}
	}
	b.WriteString(" |\n|---" + strings.Repeat("|---", len(clients)) + "|\n")
	var reasons []string
	for _, feature := range features {
		fmt.Fprintf(b, "| %s", feature)
		for _, c := range clients {
			r := c.of(feature)
			fmt.Fprintf(b, " | %s", r.Outcome)
			if r.Outcome == fails {
				reasons = append(reasons, fmt.Sprintf("%s, `%s` %s: %s", feature, c.pkg, c.version, oneLine(r.Why)))
				fmt.Fprintf(b, " (%d)", len(reasons))
			}
		}
		b.WriteString(" |\n")
	}
	for n, reason := range reasons {
		if n == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "%d. %s\n", n+1, reason)
	}
}

// of returns what came of a feature. A client that did not try it does not have it.
func (c *client) of(feature string) result {
	for _, r := range c.results {
		if r.Feature == feature {
			return r
		}
	}
	return result{Feature: feature, Outcome: absent}
}

// oneLine shortens a message to what fits a line.
func oneLine(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// renew puts the tables into a document, in place of those that are there.
func renew(file, tables string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(old), begins+"\n")
	_, tail, closed := strings.Cut(rest, ends)
	if !found || !closed {
		return fmt.Errorf("%s lacks the lines %q and %q", file, begins, ends)
	}
	return os.WriteFile(file, []byte(head+begins+"\n"+tables+"\n"+ends+tail), 0o644)
}
