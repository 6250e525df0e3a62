package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is the result of a run.
type report struct {
	Machine machine            `json:"machine"`
	Rounds  int                `json:"rounds"`
	Figures []figure           `json:"figures"`
	Phases  map[string]float64 `json:"createPhasesMs"`

	cold times // creates with nothing started ahead
}

type machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryMB int64  `json:"memoryMB"`
	Kernel   string `json:"kernel"`
}

// figure is one comparison: ours against an anchor, in the same unit.
type figure struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Ours   float64 `json:"ours"`
	P95    float64 `json:"p95,omitempty"`
	Anchor float64 `json:"anchor,omitempty"`
	Of     string  `json:"of,omitempty"` // what the anchor is
	// Ratio is Ours / Anchor and Difference is Ours - Anchor; only the one that the target
	// refers to is set.
	Ratio      float64 `json:"ratio,omitempty"`
	Difference float64 `json:"difference,omitempty"`
	Target     string  `json:"target,omitempty"`
	Met        bool    `json:"met"`
}

func (r *report) add(f figure) { r.Figures = append(r.Figures, f) }

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, %d cores, %d MiB, Linux %s; medians of %d\n\n", r.Machine.CPU, r.Machine.Cores,
		r.Machine.MemoryMB, r.Machine.Kernel, r.Rounds)
	fmt.Fprintf(w, "%-46s %10s %10s  %-34s %8s  %s\n", "", "ours", "anchor", "", "", "target")
	for _, f := range r.Figures {
		compared, verdict := "", "met"
		switch {
		case f.Ratio != 0:
			compared = fmt.Sprintf("× %.2f", f.Ratio)
		case f.Of != "":
			compared = fmt.Sprintf("%+.1f", f.Difference)
		}
		if f.Target == "" {
			verdict = ""
		} else if !f.Met {
			verdict = "MISSED"
		}
		anchor := ""
		if f.Of != "" {
			anchor = fmt.Sprintf("%.1f", f.Anchor)
		}
		fmt.Fprintf(w, "%-46s %7.1f %-3s %9s  %-34s %8s  %s %s\n", f.Name, f.Ours, f.Unit, anchor, f.Of,
			compared, f.Target, verdict)
	}
	fmt.Fprintf(w, "\nphases of a create (median ms):")
	names := make([]string, 0, len(r.Phases))
	for name := range r.Phases {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "  %s %.1f", name, r.Phases[name])
	}
	fmt.Fprintln(w)
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
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// times are measurements of one kind.
type times []time.Duration

func (t times) quantile(q float64) float64 {
	if len(t) == 0 {
		return 0
	}
	sorted := slices.Clone(t)
	slices.Sort(sorted)
	return float64(sorted[int(q*float64(len(sorted)-1)+0.5)].Microseconds()) / 1000
}

func (t times) median() float64 { return t.quantile(0.5) }
func (t times) p95() float64    { return t.quantile(0.95) }
