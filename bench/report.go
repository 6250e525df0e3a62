package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// report is the result of a run.
type report struct {
	Date    time.Time          `json:"date"`
	Version string             `json:"version"` // of the measured binary
	Machine machine            `json:"machine"`
	Rounds  int                `json:"rounds"`
	Figures []figure           `json:"figures"`
	Phases  map[string]float64 `json:"createPhasesMs"`
	Notes   []string           `json:"notes,omitempty"` // what was left out

	row string // the one that is being measured
}

type machine struct {
	CPU      string  `json:"cpu"`
	Cores    int     `json:"cores"`
	MemoryMB int64   `json:"memoryMB"`
	Kernel   string  `json:"kernel"`
	Load     float64 `json:"load"` // what else ran when the run began: the average of a minute
}

func newReport(rounds int) *report {
	r := &report{Date: time.Now().UTC().Truncate(time.Second), Machine: describeMachine(), Rounds: rounds}
	if out, err := exec.Command("bin/shoal", "version").Output(); err == nil {
		r.Version = strings.TrimSpace(string(out))
	}
	return r
}

// add adds a figure of the row that is being measured. More than one target must all be met.
func (r *report) add(f figure, wanted ...target) {
	f.Row, f.Met = r.row, len(wanted) > 0
	var texts []string
	for _, t := range wanted {
		f.Met = f.Met && t.met(f)
		texts = append(texts, t.text)
	}
	f.Target = strings.Join(texts, ", ")
	r.Figures = append(r.Figures, f)
}

// note says that something was left out.
func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// print writes the report as Markdown, which docs/performance.md takes over.
func (r *report) print(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "\n%s, %s: %s, %d cores, %d MiB, Linux %s, load at the start %.2f; up to %d rounds\n\n",
		r.Date.Format(time.DateTime), r.Version, m.CPU, m.Cores, m.MemoryMB, m.Kernel, m.Load, r.Rounds)
	table := [][]string{{"row", "what", "guest p50", "p95", "anchor p50", "ratio", "anchor", "target"}}
	for _, f := range r.Figures {
		table = append(table, f.cells())
	}
	printTable(w, table)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	if len(r.Phases) == 0 {
		return
	}
	fmt.Fprintf(w, "\nPhases of a create (median ms):")
	for i, name := range slices.Sorted(maps.Keys(r.Phases)) {
		comma := ","
		if i == 0 {
			comma = ""
		}
		fmt.Fprintf(w, "%s %s %.1f", comma, name, r.Phases[name])
	}
	fmt.Fprintln(w)
}

func (f figure) cells() []string {
	cells := []string{f.Row, f.Name, fmt.Sprintf("%.1f %s", f.Ours, f.Unit), "", "", "", f.Of, f.Target}
	if f.P95 != 0 {
		cells[3] = fmt.Sprintf("%.1f", f.P95)
	}
	if f.Anchor != 0 {
		cells[4] = fmt.Sprintf("%.1f", f.Anchor)
	}
	switch {
	case f.Ratio != 0:
		cells[5] = fmt.Sprintf("× %.2f", f.Ratio)
	case f.Difference != 0:
		cells[5] = fmt.Sprintf("%+.1f", f.Difference)
	}
	switch {
	case f.Target != "" && f.Met:
		cells[7] += ": met"
	case f.Target != "":
		cells[7] += ": MISSED"
	}
	return cells
}

// printTable writes a Markdown table that can also be read as it is.
func printTable(w io.Writer, table [][]string) {
	widths := make([]int, len(table[0]))
	for _, line := range table {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, line := range table {
		for i, cell := range line {
			fill := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i >= 2 && i <= 5 && n > 0 { // numbers
				cell, fill = fill+cell, ""
			}
			fmt.Fprintf(w, "| %s%s ", cell, fill)
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			colon := "-"
			if i >= 2 && i <= 5 {
				colon = ":"
			}
			fmt.Fprintf(w, "|%s%s", strings.Repeat("-", width+1), colon)
		}
		fmt.Fprintln(w, "|")
	}
}

func (r *report) save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func describeMachine() machine {
	m := machine{CPU: "unknown CPU"}
	data, _ := os.ReadFile("/proc/cpuinfo")
	for _, line := range strings.Split(string(data), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name":
			m.CPU = strings.TrimSpace(value)
			m.Cores++
		}
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMB = int64(info.Totalram) * int64(info.Unit) >> 20
		m.Load = float64(info.Loads[0]) / (1 << unix.SI_LOAD_SHIFT)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}
