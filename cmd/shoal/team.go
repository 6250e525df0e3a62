package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type teamCmd struct {
	List    teamListCmd    `cmd:"" help:"List the teams."`
	Publish teamPublishCmd `cmd:"" help:"Let a team show its templates to all teams."`
	Limits  teamLimitsCmd  `cmd:"" help:"Show a team's limits, and change those that are named."`
}

type teamListCmd struct{}

type teamPublishCmd struct {
	Team   string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Revoke bool   `help:"Take the right back. What the team has published stays."`
}

// Run lists the teams, oldest first.
func (teamListCmd) Run(ctx context.Context, cfg *config.Config) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	teams, err := st.Teams(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SLUG\tNAME\tID\tPUBLISHES")
	for _, t := range teams {
		publishes := "no"
		if t.MayPublish {
			publishes = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", t.Slug, t.Name, t.ID, publishes)
	}
	return w.Flush()
}

// Run gives a team the right to publish, or takes it back. A running API notices within
// auth.CacheTTL.
func (c *teamPublishCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		return st.SetMayPublish(ctx, team.ID, !c.Revoke)
	})
}
