package main

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type keyCmd struct {
	Team   string       `help:"Slug of the team. The first team by default." placeholder:"SLUG"`
	Create keyCreateCmd `cmd:"" help:"Make a key and print it; it is shown this once."`
	List   keyListCmd   `cmd:"" help:"List the keys, masked."`
	Rename keyRenameCmd `cmd:"" help:"Give a key another name."`
	Rm     keyRmCmd     `cmd:"" help:"Remove a key by its ID."`
}

type keyCreateCmd struct {
	Name    string        `arg:"" optional:"" default:"key" help:"What the key is for."`
	Scope   []string      `placeholder:"RIGHT,…" help:"What the key may do: sandboxes:read, sandboxes:write, templates:read, templates:write, team:read, team:write. All of it by default."`
	Expires time.Duration `placeholder:"TIME" help:"How long the key is valid, such as 720h. For good by default."`
	JSON    bool          `name:"json" help:"Print the key and what is known of it as JSON."`
}

type keyListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type keyRenameCmd struct {
	ID   string `arg:"" help:"The key's ID, as 'key list' shows it."`
	Name string `arg:"" help:"Its new name."`
}

type keyRmCmd struct {
	ID string `arg:"" help:"The key's ID, as 'key list' shows it."`
}

func (c *keyCreateCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		return c.run(ctx, st, shoal.APIKey{TeamID: team.ID})
	})
}

// run makes a key of the team and owner of wanted.
func (c *keyCreateCmd) run(ctx context.Context, st *store.Store, wanted shoal.APIKey) (err error) {
	wanted.Name = c.Name
	if wanted.Scopes, err = shoal.ParseScopes(c.Scope); err != nil {
		return err
	}
	if c.Expires < 0 {
		return fmt.Errorf("--expires is %s; it must be positive", c.Expires)
	}
	if c.Expires > 0 {
		wanted.ExpiresAt = time.Now().Add(c.Expires)
	}
	plaintext, key, err := auth.NewKeys(st).Create(ctx, wanted)
	if err != nil {
		return err
	}
	if c.JSON {
		shown := showKey(key)
		shown.Key = plaintext
		return printJSON(shown)
	}
	fmt.Println(plaintext)
	return nil
}

// shownKey is a key in JSON.
type shownKey struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Key       string     `json:"key,omitempty"`
	Masked    string     `json:"masked"`
	Scopes    []string   `json:"scopes"` // none is everything
	CreatedBy string     `json:"createdBy,omitempty"`
	ServiceID string     `json:"serviceAccountID,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	LastUsed  *time.Time `json:"lastUsed,omitempty"`
}

func showKey(k shoal.APIKey) shownKey {
	return shownKey{ID: k.ID, Name: k.Name, Masked: masked(auth.KeyPrefix, k.Mask), Scopes: k.Scopes.Names(),
		CreatedBy: k.CreatedBy, ServiceID: k.Owner, CreatedAt: k.CreatedAt, ExpiresAt: ifAny(k.ExpiresAt), LastUsed: ifAny(k.LastUsed)}
}

func (c *keyListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		keys, err := auth.NewKeys(st).List(ctx, team.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			shown := make([]shownKey, len(keys))
			for i, k := range keys {
				shown[i] = showKey(k)
			}
			return printJSON(shown)
		}
		rows := make([][]string, len(keys))
		for i, k := range keys {
			scopes := k.Scopes.String()
			if scopes == "" {
				scopes = "all"
			}
			rows[i] = []string{k.ID, k.Name, masked(auth.KeyPrefix, k.Mask), scopes, day(k.ExpiresAt), day(k.LastUsed)}
		}
		return printTable("ID\tNAME\tKEY\tSCOPES\tEXPIRES\tLAST USED", rows)
	})
}

func (c *keyRenameCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		name, err := auth.CleanName("key", c.Name)
		if err == nil {
			_, err = st.RenameKey(ctx, team.ID, c.ID, name)
		}
		return err
	})
}

func (c *keyRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		return auth.NewKeys(st).Delete(ctx, team.ID, c.ID)
	})
}

func masked(prefix string, m shoal.Mask) string { return prefix + m.Prefix + "…" + m.Suffix }

// withTeam opens the store and calls f with the team that has the slug, or with the first
// team if the slug is empty. It creates the first team if there is none.
func withTeam(ctx context.Context, cfg *config.Config, slug string, f func(*store.Store, shoal.Team) error) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	first, _, err := controlplane.FirstTeam(ctx, st, cfg)
	if err != nil {
		return err
	}
	if slug == "" {
		return f(st, first)
	}
	team, err := st.TeamBySlug(ctx, slug)
	if err != nil {
		return fmt.Errorf("no team has the slug %q: %w", slug, err)
	}
	return f(st, team)
}
