// Package doctor checks what a machine needs to run sandboxes, and the servers that its settings
// name. For each failure it tells the cause and the fix.
package doctor

import (
	"context"
	"fmt"
	"io"
	"slices"

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

// Word is how programs know the level.
func (l Level) Word() string { return [...]string{"ok", "note", "warn", "fail"}[l] }

// String is how people see it.
func (l Level) String() string { return [...]string{"ok", "note", "warn", "FAIL"}[l] }

// Result is the outcome of one check.
type Result struct {
	Name  string
	Level Level
	// Found is the state of the machine, or the cause of the failure.
	Found string
	// Fix is a command to run or a thing to do; empty if nothing needs fixing.
	Fix string
}

// Role is what is to run on the machine: each needs something else.
type Role string

// The roles. All is `shoal up`.
const (
	All          Role = "up"
	API          Role = "api"
	Orchestrator Role = "orchestrator"
	Proxy        Role = "proxy"
)

// roles are those that need something; none means that all do.
type roles []Role

var (
	machine      = roles{All, Orchestrator} // where sandboxes run
	controlPlane = roles{All, API}          // what the store belongs to
	entrance     = roles{API, Proxy}        // what speaks to machines elsewhere
)

func (rs roles) include(r Role) bool { return len(rs) == 0 || slices.Contains(rs, r) }

// check is one question about the machine.
type check struct {
	name string
	run  func(ctx context.Context, cfg *config.Config) Result
	// need is who needs it.
	need roles
}

func ok(format string, args ...any) Result {
	return Result{Level: OK, Found: fmt.Sprintf(format, args...)}
}

func (l Level) because(fix, format string, args ...any) Result {
	return Result{Level: l, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// checks are in the order of a start: an early failure explains those that follow.
var checks = []check{
	{"root", checkRoot, machine},
	{"kernel", checkKernel, machine},
	{"namespaces", checkNamespaces, machine},
	{"cgroups", checkCgroups, machine},
	{"nftables", checkNftables, machine},
	{"forwarding", checkForwarding, machine},
	{"default route", checkRoute, machine},
	{"address ranges", checkRanges, machine},
	{"kvm", checkKVM, machine},
	{"microvms", checkMicroVMs, machine},
	{"microvm disks", checkMicroVMDisks, machine},
	{"microvm memory", checkMicroVMMemory, machine},
	{"microvm volumes", checkMicroVMVolumes, machine},
	{"clock", checkClock, nil},
	{"memory", checkMemory, nil},
	{"descriptors", checkDescriptors, nil},
	{"disk", checkDisk, machine},
	{"garbage", checkGarbage, machine},
	{"run directory", checkRunDir, machine},
	{"leftovers", checkLeftovers, machine},
	{"ports", checkPorts, roles{All}},
	{"domain", checkDomain, nil},
	{"clickhouse", checkClickhouse, nil},
	{"bootstrap tool", checkBootstrap, machine},
	{"base template", checkBase, machine},
	{"depot", checkDepot, machine},
	{"resolvers", checkResolvers, machine},
	{"registries", checkRegistries, machine},
	{"packages", checkPackages, machine},
}

// Run runs every check that a role needs, in order, and asks the servers then. The version is that
// of this program.
func Run(ctx context.Context, cfg *config.Config, role Role, version string) []Result {
	var results []Result
	for _, c := range checks {
		if c.need.include(role) {
			results = append(results, c.run(ctx, cfg).of(c.name))
		}
	}
	if machine.include(role) {
		results = append(results, askEgress(ctx, cfg, version)...)
	}
	if controlPlane.include(role) {
		results = append(results, askServers(ctx, cfg)...)
	}
	if entrance.include(role) {
		results = append(results, askNodes(ctx, cfg, role, version)...)
	}
	return append(results, askCollector(ctx, cfg)...)
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
		fmt.Fprintf(w, "%-5s %-16s %s\n", r.Level, r.Name, r.Found)
		if r.Fix != "" {
			fmt.Fprintf(w, "      %-16s fix: %s\n", "", r.Fix)
		}
	}
}
