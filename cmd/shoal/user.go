package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type userCmd struct {
	List   userListCmd   `cmd:"" help:"List the users, with their teams and identities."`
	Create userCreateCmd `cmd:"" help:"Make a user, who can do nothing until 'team admit'."`
	Invite userInviteCmd `cmd:"" help:"Print a link by which a user sets a password, once within 24 hours."`
	Rm     userRmCmd     `cmd:"" help:"Remove a user with all that lets them in."`
	Link   userLinkCmd   `cmd:"" help:"Let a user come by the tokens of an issuer of jwt-issuers."`
	Unlink userUnlinkCmd `cmd:"" help:"End that."`
	Token  userTokenCmd  `cmd:"" help:"Make, list and remove access tokens of a user."`
}

type userListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type userCreateCmd struct {
	Email string `arg:"" help:"Address of the person."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

type userInviteCmd struct {
	Email string `arg:"" help:"Address of the user."`
}

type userRmCmd struct {
	Email string `arg:"" help:"Address of the user."`
}

type userLinkCmd struct {
	Email   string `arg:"" help:"Address of the user."`
	Issuer  string `arg:"" help:"The issuer's URL, as its tokens have it."`
	Subject string `arg:"" help:"How the issuer names the user in the claim sub."`
}

type userUnlinkCmd struct {
	Email  string `arg:"" help:"Address of the user."`
	Issuer string `arg:"" help:"The issuer's URL."`
}

// shownUser is a user in JSON.
type shownUser struct {
	ID         string          `json:"id"`
	Email      string          `json:"email"`
	CreatedAt  time.Time       `json:"createdAt"`
	Service    bool            `json:"service"` // a service account
	Teams      []shownTeam     `json:"teams"`
	Identities []shownIdentity `json:"identities"`
}

type shownIdentity struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

type shownTeam struct {
	Slug    string     `json:"slug"`
	ID      string     `json:"id"`
	Role    shoal.Role `json:"role"`
	Default bool       `json:"default"`
}

func (c *userListCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		users, err := st.Users(ctx)
		if err != nil {
			return err
		}
		shown := make([]shownUser, len(users))
		for i, u := range users {
			if shown[i], err = showUser(ctx, st, u); err != nil {
				return err
			}
		}
		if c.JSON {
			return printJSON(shown)
		}
		var rows [][]string
		for _, u := range shown {
			rows = append(rows, []string{u.Email, u.ID, u.teams(), u.issuers()})
		}
		return printTable("USER\tID\tTEAMS\tISSUERS", rows)
	})
}

func showUser(ctx context.Context, st *store.Store, u shoal.User) (shownUser, error) {
	shown := shownUser{ID: u.ID, Email: u.Email, CreatedAt: u.CreatedAt, Service: u.ServiceTeam != "",
		Teams: []shownTeam{}, Identities: []shownIdentity{}}
	memberships, err := st.Memberships(ctx, u.ID)
	if err != nil {
		return shown, err
	}
	for _, m := range memberships {
		shown.Teams = append(shown.Teams, shownTeam{m.Team.Slug, m.Team.ID, m.Role, m.Default})
	}
	identities, err := st.Identities(ctx, u.ID)
	for _, id := range identities {
		shown.Identities = append(shown.Identities, shownIdentity(id))
	}
	return shown, err
}

func (u shownUser) teams() string {
	text := ""
	for _, t := range u.Teams {
		text += fmt.Sprintf("%s (%s) ", t.Slug, t.Role)
	}
	return text
}

func (u shownUser) issuers() string {
	text := ""
	for _, id := range u.Identities {
		text += id.Issuer + " "
	}
	return text
}

func (c *userCreateCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		u, err := auth.NewPeople(st).Create(ctx, c.Email)
		if err != nil {
			return err
		}
		if c.JSON {
			shown, err := showUser(ctx, st, u)
			if err != nil {
				return err
			}
			return printJSON(shown)
		}
		fmt.Println(u.ID)
		return nil
	})
}

func (c *userInviteCmd) Run(ctx context.Context, cfg *config.Config) error {
	if !cfg.LocalAccounts {
		return errors.New("local-accounts is off, so nobody can sign in by a password")
	}
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		if u.ServiceTeam != "" {
			return fmt.Errorf("%s is a service account; `shoal service key` makes keys of it", u.Email)
		}
		secret, err := auth.NewPeople(st).Invite(ctx, u.ID)
		if err != nil {
			return err
		}
		fmt.Println(welcomeLink(cfg, secret))
		return nil
	})
}

// firstPerson tells how the first person gets in; it is "" if there is somebody.
func firstPerson(cfg *config.Config, secret string) string {
	if secret == "" {
		return ""
	}
	return fmt.Sprintf("Nobody can sign in yet. This link makes the first owner, once within 24 hours:\n\n  %s\n\n",
		welcomeLink(cfg, secret))
}

// welcomeLink is where a browser reaches the API.
func welcomeLink(cfg *config.Config, secret string) string {
	return cfg.APIURL() + "/welcome?link=" + secret
}

func (c *userRmCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		return st.DeleteUser(ctx, u.ID)
	})
}

// Run links also to an issuer that is not trusted yet, so that users may be there before.
func (c *userLinkCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		return st.AddIdentity(ctx, u.ID, shoal.Identity{Issuer: c.Issuer, Subject: c.Subject})
	})
}

func (c *userUnlinkCmd) Run(ctx context.Context, cfg *config.Config) error {
	return withUser(ctx, cfg, c.Email, func(st *store.Store, u shoal.User) error {
		return st.DeleteIdentity(ctx, u.ID, c.Issuer)
	})
}

func withStore(ctx context.Context, cfg *config.Config, f func(*store.Store) error) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	return f(st)
}

// withUser opens the store and calls f with the user of an address.
func withUser(ctx context.Context, cfg *config.Config, email string, f func(*store.Store, shoal.User) error) error {
	return withStore(ctx, cfg, func(st *store.Store) error {
		u, err := findUser(ctx, st, email)
		if err != nil {
			return err
		}
		return f(st, u)
	})
}
