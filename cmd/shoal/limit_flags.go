package main

import (
	"strconv"

	"shoal/internal/shoal"
)

// limitFlags are the limits of a team or tier that a command names.
type limitFlags struct {
	ConcurrentSandboxes *int64 `placeholder:"N" help:"Sandboxes that run at once."`
	Sandboxes           *int64 `placeholder:"N" help:"Sandboxes, running and paused."`
	MaxHours            *int64 `placeholder:"N" help:"Hours for which a sandbox runs, from its start or its last resume."`
	MaxCPU              *int64 `name:"max-cpu" placeholder:"N" help:"Processors of a sandbox."`
	MaxMemory           *int64 `placeholder:"MIB" help:"Memory of a sandbox."`
	Disk                *int64 `placeholder:"MIB" help:"Disk of a sandbox."`
	ConcurrentBuilds    *int64 `placeholder:"N" help:"Builds that wait or are under way at once."`
	Builds              *int64 `placeholder:"N" help:"Builds of templates, and snapshots, that are kept; also how many of those."`
	Templates           *int64 `placeholder:"N" help:"Templates, without snapshots."`
	Secrets             *int64 `placeholder:"N" help:"Secrets."`
	Storage             *int64 `placeholder:"GIB" help:"Storage of paused sandboxes, snapshots, template builds and uploaded files, in all."`
	EventDays           *int64 `placeholder:"DAYS" help:"Days for which events of sandboxes are kept, 1 to 365. Those that are there stay as they are."`
	CreatesPerSecond    *int64 `placeholder:"N" help:"Sandboxes that may be created, copied or resumed a second, and ten times as many at once."`
	RequestsPerSecond   *int64 `placeholder:"N" help:"Calls of the API a second, and ten times as many at once."`
	MaxVolumes          *int64 `placeholder:"N" help:"Volumes."`
	VolumeSize          *int64 `placeholder:"MIB" help:"Size of each volume."`
}

// parse returns the limits that are named.
func (f *limitFlags) parse() (shoal.TeamLimits, shoal.LimitSet, error) {
	named := map[string]int64{}
	for name, asked := range map[string]*int64{
		"concurrent-sandboxes": f.ConcurrentSandboxes,
		"sandboxes":            f.Sandboxes,
		"max-hours":            f.MaxHours,
		"max-cpu":              f.MaxCPU,
		"max-memory":           f.MaxMemory,
		"disk":                 f.Disk,
		"concurrent-builds":    f.ConcurrentBuilds,
		"builds":               f.Builds,
		"templates":            f.Templates,
		"secrets":              f.Secrets,
		"storage":              f.Storage,
		"event-days":           f.EventDays,
		"creates-per-second":   f.CreatesPerSecond,
		"requests-per-second":  f.RequestsPerSecond,
		"max-volumes":          f.MaxVolumes,
		"volume-size":          f.VolumeSize,
	} {
		if asked != nil {
			named[name] = *asked
		}
	}
	return shoal.ParseLimits(named)
}

// limitRows are limits in their order, each with what it is.
func limitRows(limits shoal.TeamLimits) [][]string {
	named := limits.Named()
	rows := make([][]string, len(shoal.Limits))
	for i, limit := range shoal.Limits {
		rows[i] = []string{limit.Name, strconv.FormatInt(named[limit.Name], 10)}
	}
	return rows
}
