package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/google/uuid"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type teamCmd struct {
	List    teamListCmd    `cmd:"" help:"List the teams."`
	Create  teamCreateCmd  `cmd:"" help:"Make a team, without members and keys."`
	Members teamMembersCmd `cmd:"" help:"List the members of a team."`
	Admit   teamAdmitCmd   `cmd:"" help:"Make a user a member of a team, or give a member another role."`
	Dismiss teamDismissCmd `cmd:"" help:"End a membership."`
	Block   teamBlockCmd   `cmd:"" help:"Let a team read and clean up only."`
	Ban     teamBanCmd     `cmd:"" help:"Refuse all calls of a team."`
	Publish teamPublishCmd `cmd:"" help:"Let a team show its templates to all teams."`
	Limits  teamLimitsCmd  `cmd:"" help:"Show a team's tier and limits, and change those that are named."`
}

type teamListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type teamCreateCmd struct {
	Slug string `arg:"" help:"Lower-case letters, digits and dashes; the namespace of the team's templates."`
	Name string `help:"Its name for people. The slug by default."`
	Tier string `default:"default" help:"The tier that its limits are of, as 'tier list' shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type teamPublishCmd struct {
	Team   string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Revoke bool   `help:"Take the right back. What the team has published stays."`
}

type teamBlockCmd struct {
	Team   string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Reason string `help:"What its members are told."`
	Lift   bool   `help:"End the block."`
}

type teamBanCmd struct {
	Team string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Lift bool   `help:"End the ban."`
}

// listedTeam is a team in JSON.
type listedTeam struct {
	Slug          string `json:"slug"`
	Name          string `json:"name"`
	ID            string `json:"id"`
	Tier          string `json:"tier"`
	Publishes     bool   `json:"publishes"`
	Blocked       bool   `json:"blocked"`
	BlockedReason string `json:"blockedReason,omitempty"`
	Banned        bool   `json:"banned"`
}

// Run lists the teams, oldest first.
func (c *teamListCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		teams, err := st.Teams(ctx)
		if err != nil {
			return err
		}
		shown, rows := make([]listedTeam, len(teams)), make([][]string, len(teams))
		for i, t := range teams {
			shown[i] = listedTeam{t.Slug, t.Name, t.ID, t.Tier, t.MayPublish, t.Blocked, t.BlockedReason, t.Banned}
			rows[i] = []string{t.Slug, t.Name, t.ID, t.Tier, yes(t.MayPublish), standing(t)}
		}
		if c.JSON {
			return printJSON(shown)
		}
		return printTable("SLUG\tNAME\tID\tTIER\tPUBLISHES\tSTANDING", rows)
	})
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func standing(t shoal.Team) string {
	switch {
	case t.Banned:
		return "banned"
	case t.Blocked:
		return "blocked"
	}
	return "good"
}

var slugPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Run makes a team with the limits of its tier.
func (c *teamCreateCmd) Run(ctx context.Context, cfg *config.Config) error {
	if !slugPattern.MatchString(c.Slug) {
		return fmt.Errorf("%q is no slug: it has 1 to 63 lower-case letters, digits and dashes between them", c.Slug)
	}
	if c.Name == "" {
		c.Name = c.Slug
	}
	name, err := auth.CleanName("team", c.Name)
	if err != nil {
		return err
	}
	// The first team is the operator's, so there has to be one before this.
	return withTeam(ctx, cfg, "", func(st *store.Store, _ shoal.Team) error {
		team := shoal.Team{ID: uuid.NewString(), Name: name, Slug: c.Slug, Tier: c.Tier}
		err := st.CreateTeam(ctx, team)
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("there is a team %q already: %w", c.Slug, err)
		}
		if err != nil || !c.JSON {
			return err
		}
		return printJSON(listedTeam{Slug: team.Slug, Name: team.Name, ID: team.ID, Tier: team.Tier})
	})
}

// Run gives a team the right to publish, or takes it back. A running API notices within
// auth.CacheTTL.
func (c *teamPublishCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		return st.SetMayPublish(ctx, team.ID, !c.Revoke)
	})
}

// Run blocks a team, or lifts that. Its sandboxes go on to their deadlines.
func (c *teamBlockCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		team.Blocked, team.BlockedReason = !c.Lift, c.Reason
		if c.Lift {
			team.BlockedReason = ""
		}
		return st.SetStanding(ctx, team)
	})
}

// Run bans a team, or lifts that.
func (c *teamBanCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		team.Banned = !c.Lift
		return st.SetStanding(ctx, team)
	})
}
