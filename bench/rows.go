package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// group is rows that are measured on one installation. Each group has a file of its own, or
// two.
type group struct {
	name  string
	env   []string // settings of the installation
	apart bool     // measured only if it is named, because it takes long
	rows  []row
	// servers are those that the installation stands on. Without them the group is left out.
	servers wants
	// prepare, if there is one, comes before the rows.
	prepare func(context.Context, *server) error
}

// row is what can be measured by itself. It adds one figure or several to the report.
type row struct {
	name    string
	measure func(context.Context, *bench, *server) error
}

var groups = []group{
	// Nothing is started ahead and nothing rests, so every create and every resume does all of
	// its work.
	{name: "cold", env: []string{"SHOAL_WARM_MAX=0", "SHOAL_REST_TIME=0s"}, rows: []row{
		{"create", benchCreate}, {"command", benchCommand}, {"transfer", benchTransfer},
		{"pause", benchPause}, {"memory", benchMemory}}},
	{name: "warm", env: []string{fmt.Sprintf("SHOAL_WARM=base=%d", warmGuests),
		"SHOAL_WARM_MAX=" + strconv.Itoa(warmGuests)}, rows: []row{
		{"frozen", benchFrozen}, {"first", benchFirst}, {"burst", benchBurst},
		{"burst-empty", benchBurstEmpty}, {"empty", benchEmptyPool}, {"resting", benchResting},
		{"fork", benchFork}}},
	// What is started ahead is as in an installation without settings, and nobody pauses so
	// that the pool could be filled.
	{name: "people", env: []string{"SHOAL_REST_TIME=0s"}, rows: []row{
		{"loop", benchLoop}, {"rate", benchRate}, {"resumes", benchResumes},
		{"script", benchScript}, {"scripts", benchScripts}}},
	{name: "inside", rows: taskRows()},
	{name: "templates", rows: []row{{"builds", benchBuilds}, {"serving", benchServing}}},
	{name: "service", rows: serviceRows("")},
	{name: "service-postgres", servers: wants{postgres: true}, rows: serviceRows("-postgres")},
	{name: "service-redis", servers: wants{postgres: true, redis: true}, rows: serviceRows("-redis")},
	{name: "volumes", rows: []row{{"volume-create", benchVolumeCreate}, {"volume-copy", benchVolumeCopy}}},
	{name: "egress", servers: wants{internet: true}, rows: []row{
		{"name-path", benchNamePath}, {"name-connect", benchNameConnect}, {"transform", benchTransform}}},
	{name: "interpreter", apart: true, prepare: buildInterpreter, rows: []row{
		{"run-code", benchRunCode}, {"first-cells", benchFirstCells}}},
}

// choose returns the groups with the rows that are wanted, by their own name or their
// group's. Without one, all but those that are apart are.
func choose(wanted string) ([]group, error) {
	var chosen []group
	names := map[string]bool{} // whether it was found
	for _, name := range strings.Split(wanted, ",") {
		names[name] = false
	}
	for _, g := range groups {
		if wanted == "" {
			if !g.apart {
				chosen = append(chosen, g)
			}
			continue
		}
		_, whole := names[g.name]
		if whole {
			names[g.name] = true
		}
		rows := slices.DeleteFunc(slices.Clone(g.rows), func(r row) bool {
			_, named := names[r.name]
			if named {
				names[r.name] = true
			}
			return !named && !whole
		})
		if len(rows) > 0 {
			g.rows = rows
			chosen = append(chosen, g)
		}
	}
	for name, found := range names {
		if wanted != "" && !found {
			return nil, fmt.Errorf("there is no row %q; there are:\n%s", name, list(groups))
		}
	}
	return chosen, nil
}

// listRows is the help: all groups with their rows.
func listRows() string {
	return list(groups) + "\nWithout it all are measured but interpreter, which takes a long build."
}

// list names groups with their rows, one group a line.
func list(groups []group) string {
	var lines []string
	for _, g := range groups {
		line := g.name + ":"
		for _, r := range g.rows {
			line += " " + r.name
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
