package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"

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
	Rm     keyRmCmd     `cmd:"" help:"Remove a key by its ID."`
}

type keyCreateCmd struct {
	Name string `arg:"" optional:"" default:"key" help:"What the key is for."`
}

type keyListCmd struct{}

type keyRmCmd struct {
	ID string `arg:"" help:"The key's ID, as 'key list' shows it."`
}

func (c *keyCreateCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		key, _, err := auth.NewKeys(st).Create(ctx, team.ID, c.Name)
		if err != nil {
			return err
		}
		fmt.Println(key)
		return nil
	})
}

func (keyListCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		keys, err := auth.NewKeys(st).List(ctx, team.ID)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tNAME\tKEY\tLAST USED")
		for _, k := range keys {
			used := "never"
			if !k.LastUsed.IsZero() {
				used = k.LastUsed.Format("2006-01-02 15:04")
			}
			fmt.Fprintf(w, "%s\t%s\te2b_%s…%s\t%s\n", k.ID, k.Name, k.MaskPrefix, k.MaskSuffix, used)
		}
		return w.Flush()
	})
}

func (c *keyRmCmd) Run(ctx context.Context, cfg *config.Config, all *commands) error {
	return withTeam(ctx, cfg, all.Key.Team, func(st *store.Store, team shoal.Team) error {
		return auth.NewKeys(st).Delete(ctx, team.ID, c.ID)
	})
}

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
