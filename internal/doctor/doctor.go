// Package doctor checks what a machine needs to run sandboxes. For each failure it tells
// the cause and the fix.
package doctor

import (
	"context"
	"fmt"
	"io"

	"shoal/internal/config"
)

// Level is the outcome of a check.
type Level int

const (
	OK   Level = iota // as it should be
	Note              // not ideal, but everything works
	Warn              // something will not work, but sandboxes run
	Fail              // no sandbox can run
)

func (l Level) String() string {
	return [...]string{"ok", "note", "warn", "FAIL"}[l]
}

// Result is the outcome of one check.
type Result struct {
	Name  string
	Level Level
	// Found is the state of the machine, or the cause of the failure.
	Found string
	// Fix is a command to run or a thing to do; empty if nothing needs fixing.
	Fix string
}

// check is one question about the machine.
type check struct {
	name string
	run  func(ctx context.Context, cfg *config.Config) Result
}

func ok(format string, args ...any) Result {
	return Result{Level: OK, Found: fmt.Sprintf(format, args...)}
}

func (l Level) because(fix, format string, args ...any) Result {
	return Result{Level: l, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// checks are in the order of a start: an early failure explains those that follow.
var checks = []check{
	{"root", checkRoot},
	{"kernel", checkKernel},
	{"namespaces", checkNamespaces},
	{"cgroups", checkCgroups},
	{"nftables", checkNftables},
	{"default route", checkRoute},
	{"address ranges", checkRanges},
	{"kvm", checkKVM},
	{"memory", checkMemory},
	{"descriptors", checkDescriptors},
	{"disk", checkDisk},
	{"garbage", checkGarbage},
	{"run directory", checkRunDir},
	{"ports", checkPorts},
	{"domain", checkDomain},
	{"clickhouse", checkClickhouse},
	{"bootstrap tool", checkBootstrap},
	{"base template", checkBase},
}

// Run runs every check, in order.
func Run(ctx context.Context, cfg *config.Config) []Result {
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		r := c.run(ctx, cfg)
		r.Name = c.name
		results = append(results, r)
	}
	return results
}

// Worst returns the most severe level among results.
func Worst(results []Result) Level {
	worst := OK
	for _, r := range results {
		worst = max(worst, r.Level)
	}
	return worst
}

// Print writes results for people.
func Print(w io.Writer, results []Result) {
	for _, r := range results {
		fmt.Fprintf(w, "%-5s %-15s %s\n", r.Level, r.Name, r.Found)
		if r.Fix != "" {
			fmt.Fprintf(w, "      %-15s fix: %s\n", "", r.Fix)
		}
	}
}
