package main

import (
	"context"
	"slices"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type teamLimitsCmd struct {
	Team  string   `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Tier  string   `placeholder:"NAME" help:"Put the team into this tier, as 'tier list' shows it."`
	Reset []string `placeholder:"LIMIT,…" help:"Limits that become the tier's again."`
	JSON  bool     `name:"json" help:"Print JSON."`
	limitFlags
}

// heldLimits are a team's limits in JSON.
type heldLimits struct {
	Tier   string           `json:"tier"`
	Limits map[string]int64 `json:"limits"`
	Own    []string         `json:"own"`
}

// Run makes the limits that are named the team's own, and shows all. A running API notices within
// auth.CacheTTL; sandboxes that are there stay as they are.
func (c *teamLimitsCmd) Run(ctx context.Context, cfg *config.Config) error {
	change := shoal.LimitChange{Tier: c.Tier}
	var err error
	if change.Values, change.Set, err = c.parse(); err != nil {
		return err
	}
	if change.Reset, err = shoal.ParseLimitNames(c.Reset); err != nil {
		return err
	}
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		if change != (shoal.LimitChange{}) {
			if team, err = st.ChangeLimits(ctx, team.ID, change); err != nil {
				return err
			}
		}
		own := team.Own.Names()
		if c.JSON {
			return printJSON(heldLimits{Tier: team.Tier, Limits: team.Limits.Named(), Own: own})
		}
		rows := limitRows(team.Limits)
		for i, row := range rows {
			from := "tier " + team.Tier
			if slices.Contains(own, row[0]) {
				from = "team"
			}
			rows[i] = append(row, from)
		}
		return printTable("LIMIT\tVALUE\tOF", rows)
	})
}
