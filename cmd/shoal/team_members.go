package main

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type teamMembersCmd struct {
	Team string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type teamAdmitCmd struct {
	Team    string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Email   string `arg:"" help:"Address of the user, who 'user create' has made."`
	Role    string `default:"developer" enum:"owner,admin,developer,viewer" help:"What they may do: a viewer sees everything, a developer also makes sandboxes and templates, an admin and an owner also manage API keys."`
	Default bool   `help:"Make the team the user's default one. The first team is it anyway."`
}

type teamDismissCmd struct {
	Team  string `arg:"" placeholder:"SLUG" help:"Slug of the team, as 'team list' shows it."`
	Email string `arg:"" help:"Address of the member."`
}

// shownMember is a member in JSON.
type shownMember struct {
	ID      string     `json:"id"`
	Email   string     `json:"email"`
	Role    shoal.Role `json:"role"`
	Default bool       `json:"default"`
}

func (c *teamMembersCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withTeam(ctx, cfg, c.Team, func(st *store.Store, team shoal.Team) error {
		members, err := st.Members(ctx, team.ID)
		if err != nil {
			return err
		}
		shown, rows := make([]shownMember, len(members)), make([][]string, len(members))
		for i, m := range members {
			shown[i] = shownMember{m.User.ID, m.User.Email, m.Role, m.Default}
			rows[i] = []string{m.User.Email, string(m.Role), m.User.ID}
		}
		if c.JSON {
			return printJSON(shown)
		}
		return printTable("USER\tROLE\tID", rows)
	})
}

// Run admits a user, or changes a member's role. A running API notices within auth.CacheTTL.
func (c *teamAdmitCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withMember(ctx, cfg, c.Team, c.Email, func(st *store.Store, team shoal.Team, u shoal.User) error {
		if u.ServiceTeam != "" && u.ServiceTeam != team.ID {
			return fmt.Errorf("%s is a service account of another team", u.Email)
		}
		err := st.AddMember(ctx, team.ID, u.ID, shoal.Role(c.Role))
		if errors.Is(err, store.ErrExists) {
			err = st.SetRole(ctx, team.ID, u.ID, shoal.Role(c.Role))
		}
		if err == nil && c.Default {
			err = st.SetDefaultTeam(ctx, team.ID, u.ID)
		}
		return err
	})
}

func (c *teamDismissCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withMember(ctx, cfg, c.Team, c.Email, func(st *store.Store, team shoal.Team, u shoal.User) error {
		return st.RemoveMember(ctx, team.ID, u.ID)
	})
}

// withMember calls f with a team and a user, who may not be a member yet.
func withMember(ctx context.Context, cfg *config.Config, slug, email string,
	f func(*store.Store, shoal.Team, shoal.User) error) error {
	return withTeam(ctx, cfg, slug, func(st *store.Store, team shoal.Team) error {
		u, err := findUser(ctx, st, email)
		if err != nil {
			return err
		}
		return f(st, team, u)
	})
}
