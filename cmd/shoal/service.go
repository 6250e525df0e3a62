package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type serviceCmd struct {
	Team   string           `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	List   serviceListCmd   `cmd:"" help:"List the service accounts."`
	Create serviceCreateCmd `cmd:"" help:"Make a service account: a user of the team that is a program."`
	Key    serviceKeyCmd    `cmd:"" help:"Make an API key of a service account and print it; it is shown this once."`
	Rm     serviceRmCmd     `cmd:"" help:"Remove a service account with its keys."`
}

type serviceListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type serviceCreateCmd struct {
	Name string `arg:"" help:"Lower-case letters, digits and dashes."`
	Role string `default:"developer" enum:"owner,admin,developer,viewer" help:"What it may do, as in 'team admit'."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type serviceKeyCmd struct {
	Name    string        `arg:"" help:"Name of the service account."`
	For     string        `default:"key" placeholder:"NAME" help:"What the key is for."`
	Scope   []string      `placeholder:"RIGHT,…" help:"What the key may do, as in 'key create', of what the role allows. All of it by default."`
	Expires time.Duration `placeholder:"TIME" help:"How long the key is valid, such as 720h. For good by default."`
	JSON    bool          `name:"json" help:"Print the key and what is known of it as JSON."`
}

type serviceRmCmd struct {
	Name string `arg:"" help:"Name of the service account."`
}

// shownService is a service account in JSON.
type shownService struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Address   string     `json:"address"`
	Role      shoal.Role `json:"role"` // "" if it was dismissed
	CreatedAt time.Time  `json:"createdAt"`
}

func showService(m shoal.Membership) shownService {
	name, _, _ := strings.Cut(m.User.Email, "@")
	return shownService{m.User.ID, name, m.User.Email, m.Role, m.User.CreatedAt}
}

func (c *serviceListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Service.Team, func(st *store.Store, team shoal.Team) error {
		list, err := st.ServiceAccounts(ctx, team.ID)
		if err != nil {
			return err
		}
		shown, rows := make([]shownService, len(list)), make([][]string, len(list))
		for i, m := range list {
			shown[i] = showService(m)
			rows[i] = []string{shown[i].Name, string(m.Role), m.User.ID, day(m.User.CreatedAt)}
		}
		if c.JSON {
			return printJSON(shown)
		}
		return printTable("NAME\tROLE\tID\tMADE", rows)
	})
}

func (c *serviceCreateCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Service.Team, func(st *store.Store, team shoal.Team) error {
		u, err := auth.NewPeople(st).CreateService(ctx, team, c.Name, shoal.Role(c.Role))
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(showService(shoal.Membership{User: u, Role: shoal.Role(c.Role)}))
		}
		fmt.Println(u.ID)
		return nil
	})
}

func (c *serviceKeyCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withService(ctx, cfg, all.Service.Team, c.Name, func(st *store.Store, u shoal.User) error {
		create := keyCreateCmd{Name: c.For, Scope: c.Scope, Expires: c.Expires, JSON: c.JSON}
		return create.run(ctx, st, shoal.APIKey{TeamID: u.ServiceTeam, Owner: u.ID})
	})
}

func (c *serviceRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withService(ctx, cfg, all.Service.Team, c.Name, func(st *store.Store, u shoal.User) error {
		return st.DeleteServiceAccount(ctx, u.ServiceTeam, u.ID)
	})
}

// withService calls f with a service account of a team.
func withService(ctx context.Context, cfg *config.Config, slug, name string,
	f func(*store.Store, shoal.User) error) error {
	return withTeam(ctx, cfg, slug, func(st *store.Store, team shoal.Team) error {
		list, err := st.ServiceAccounts(ctx, team.ID)
		if err != nil {
			return err
		}
		for _, m := range list {
			if showService(m).Name == name {
				return f(st, m.User)
			}
		}
		return shoal.ErrServiceAccountNotFound.New("team %s has no service account %q", team.Slug, name)
	})
}
