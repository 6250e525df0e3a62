package main

import (
	"context"
	"strconv"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type tierCmd struct {
	List   tierListCmd   `cmd:"" help:"List the tiers and their limits."`
	Add    tierAddCmd    `cmd:"" help:"Add a tier. Limits that are not named are those of the default tier of now."`
	Change tierChangeCmd `cmd:"" help:"Change limits of a tier, and so of all teams in it that have none of their own."`
	Remove tierRemoveCmd `cmd:"" help:"Remove a tier that no team is in."`
}

type tierListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type tierAddCmd struct {
	Tier string `arg:"" placeholder:"NAME" help:"Lower-case letters, digits, - and _."`
	JSON bool   `name:"json" help:"Print JSON."`
	limitFlags
}

type tierChangeCmd struct {
	Tier string `arg:"" placeholder:"NAME" help:"Name of the tier, as 'tier list' shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
	limitFlags
}

type tierRemoveCmd struct {
	Tier string `arg:"" placeholder:"NAME" help:"Name of the tier, as 'tier list' shows it."`
}

// listedTier is a tier in JSON.
type listedTier struct {
	Name   string           `json:"name"`
	Teams  int              `json:"teams"`
	Limits map[string]int64 `json:"limits"`
}

// Run lists the tiers, oldest first: a column for each, a row for each limit.
func (c *tierListCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		tiers, err := st.Tiers(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			shown := make([]listedTier, len(tiers))
			for i, t := range tiers {
				shown[i] = listedTier{t.Name, t.Teams, t.Limits.Named()}
			}
			return printJSON(shown)
		}
		head, teams := "TIER", []string{"teams"}
		rows := make([][]string, len(shoal.Limits))
		for i, limit := range shoal.Limits {
			rows[i] = []string{limit.Name}
		}
		for _, t := range tiers {
			head += "\t" + t.Name
			teams = append(teams, strconv.Itoa(t.Teams))
			for i, row := range limitRows(t.Limits) {
				rows[i] = append(rows[i], row[1])
			}
		}
		return printTable(head, append([][]string{teams}, rows...))
	})
}

// Run adds a tier.
func (c *tierAddCmd) Run(ctx context.Context, cfg *config.Config) error {
	if err := shoal.CheckTierName(c.Tier); err != nil {
		return err
	}
	values, set, err := c.parse()
	if err != nil {
		return err
	}
	return withStore(ctx, cfg, func(st *store.Store) error {
		tier, err := st.AddTier(ctx, c.Tier, set, values)
		if err != nil {
			return err
		}
		return printTier(tier, c.JSON)
	})
}

// Run changes the limits that are named. A running API notices within auth.CacheTTL.
func (c *tierChangeCmd) Run(ctx context.Context, cfg *config.Config) error {
	values, set, err := c.parse()
	if err != nil {
		return err
	}
	return withStore(ctx, cfg, func(st *store.Store) error {
		tier, err := st.ChangeTier(ctx, c.Tier, set, values)
		if err != nil {
			return err
		}
		return printTier(tier, c.JSON)
	})
}

// Run removes a tier.
func (c *tierRemoveCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		return st.RemoveTier(ctx, c.Tier)
	})
}

func printTier(tier shoal.Tier, asJSON bool) error {
	if asJSON {
		return printJSON(listedTier{tier.Name, tier.Teams, tier.Limits.Named()})
	}
	return printTable("LIMIT\tVALUE", limitRows(tier.Limits))
}
