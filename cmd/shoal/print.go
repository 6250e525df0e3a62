package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// printJSON prints a value for programs.
func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printTable prints rows for people, below a head whose columns are separated by tabs.
func printTable(head string, rows [][]string) error { return writeTable(os.Stdout, head, rows) }

// writeTable is printTable to somewhere else, or without a head.
func writeTable(to io.Writer, head string, rows [][]string) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
	if head != "" {
		fmt.Fprintln(w, head)
	}
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// day is a time to the minute.
func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format("2006-01-02 15:04")
}

// ifAny is a time that JSON leaves out if it is zero.
func ifAny(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
