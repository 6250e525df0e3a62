package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type teamLimitsCmd struct {
	Team                string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	ConcurrentSandboxes *int   `placeholder:"N" help:"Sandboxes that run at once."`
	Sandboxes           *int   `placeholder:"N" help:"Sandboxes, running and paused."`
	MaxHours            *int   `placeholder:"N" help:"Hours for which a sandbox runs, from its start or its last resume."`
	MaxCPU              *int   `name:"max-cpu" placeholder:"N" help:"Processors of a sandbox."`
	MaxMemory           *int   `placeholder:"MIB" help:"Memory of a sandbox."`
	Disk                *int   `placeholder:"MIB" help:"Disk of a sandbox."`
	ConcurrentBuilds    *int   `placeholder:"N" help:"Builds that wait or are under way at once."`
	Builds              *int   `placeholder:"N" help:"Builds of templates, and snapshots, that are kept; also how many templates."`
	Storage             *int   `placeholder:"GIB" help:"Storage of paused sandboxes, snapshots, template builds and uploaded files, in all."`
	EventDays           *int   `placeholder:"DAYS" help:"Days for which events of sandboxes are kept, 1 to 365. Those that are there stay as they are."`
}

// Run changes the limits that are named, and shows all. A running API notices within
// auth.CacheTTL; sandboxes that are there stay as they are.
func (c *teamLimitsCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		changed, err := c.apply(&team.Limits)
		if err == nil && changed {
			err = st.SetLimits(ctx, team.ID, team.Limits)
		}
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		for _, l := range c.list(&team.Limits) {
			fmt.Fprintf(w, "%s\t%d\n", l.name, l.get())
		}
		return w.Flush()
	})
}

// teamLimit is one limit under the name of its flag.
type teamLimit struct {
	name  string
	asked *int // nil leaves it as it is
	get   func() int
	set   func(int)
	least int
	most  int // 0 is maxTeamLimit
}

func (c *teamLimitsCmd) list(l *shoal.TeamLimits) []teamLimit {
	number := func(name string, asked, at *int) teamLimit {
		return teamLimit{name: name, asked: asked, get: func() int { return *at }, set: func(n int) { *at = n }}
	}
	size := func(name string, asked *int, at *int64) teamLimit {
		return teamLimit{name: name, asked: asked, get: func() int { return int(*at) }, set: func(n int) { *at = int64(n) }}
	}
	days := number("event-days", c.EventDays, &l.EventDays)
	days.least, days.most = 1, shoal.MaxEventDays
	return []teamLimit{
		number("concurrent-sandboxes", c.ConcurrentSandboxes, &l.ConcurrentSandboxes),
		number("sandboxes", c.Sandboxes, &l.Sandboxes),
		{name: "max-hours", asked: c.MaxHours, get: func() int { return int(l.MaxLength / time.Hour) },
			set: func(n int) { l.MaxLength = time.Duration(n) * time.Hour }},
		number("max-cpu", c.MaxCPU, &l.MaxCPU),
		size("max-memory", c.MaxMemory, &l.MaxMemoryMB),
		size("disk", c.Disk, &l.DiskMB),
		number("concurrent-builds", c.ConcurrentBuilds, &l.ConcurrentBuilds),
		number("builds", c.Builds, &l.Builds),
		size("storage", c.Storage, &l.StorageGB),
		days,
	}
}

// maxTeamLimit is the most that any limit may be; hours beyond it would not fit into the API's
// numbers.
const maxTeamLimit = 1_000_000

// apply changes the limits that are named.
func (c *teamLimitsCmd) apply(to *shoal.TeamLimits) (changed bool, err error) {
	for _, l := range c.list(to) {
		if l.asked == nil {
			continue
		}
		most := cmp.Or(l.most, maxTeamLimit)
		if *l.asked < l.least || *l.asked > most {
			return false, fmt.Errorf("--%s is %d; it must be from %d to %d", l.name, *l.asked, l.least, most)
		}
		l.set(*l.asked)
		changed = true
	}
	return changed, nil
}
