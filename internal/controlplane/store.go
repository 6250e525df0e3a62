package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/auth"
	"shoal/internal/config"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// OpenStore opens the installation's database.
func OpenStore(ctx context.Context, cfg *config.Config) (*store.Store, error) {
	if err := MakeDatabaseDirectory(cfg); err != nil {
		return nil, err
	}
	return store.Open(ctx, cfg.DatabaseLocation())
}

// Unseal lets a store read and keep what is sealed, which not every command has to.
func Unseal(cfg *config.Config, st *store.Store) error {
	ring, err := cfg.Keyring()
	if err != nil {
		return err
	}
	st.SealBy(ring)
	return nil
}

// MakeDatabaseDirectory makes the data directory, if the database is to be there.
func MakeDatabaseDirectory(cfg *config.Config) error {
	if cfg.Database == "" {
		if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
			return fmt.Errorf("make the data directory: %w", err)
		}
	}
	return nil
}

// FirstTeam ensures that there is a team with an API key: the development team with its
// fixed key, or a team with a random key. The random key is returned only when it is
// created. The team owns the installation's templates, so it may always publish.
func FirstTeam(ctx context.Context, st *store.Store,
	cfg *config.Config) (team shoal.Team, key string, err error) {
	if team, key, err = firstTeam(ctx, st, cfg); err != nil || team.MayPublish {
		return team, key, err
	}
	team.MayPublish = true
	return team, key, st.SetMayPublish(ctx, team.ID, true)
}

func firstTeam(ctx context.Context, st *store.Store,
	cfg *config.Config) (team shoal.Team, key string, err error) {
	keys := auth.NewKeys(st)
	if cfg.Dev {
		if err := keys.EnsureDev(ctx); err != nil {
			return shoal.Team{}, "", err
		}
		team, err = st.Team(ctx, shoal.DevTeamID)
		return team, shoal.DevAPIKey, err
	}
	if key, err = keys.EnsureFirst(ctx); err != nil {
		return shoal.Team{}, "", err
	}
	teams, err := st.Teams(ctx)
	if err != nil {
		return shoal.Team{}, "", err
	}
	if len(teams) == 0 {
		return shoal.Team{}, "", errors.New("the database has no team")
	}
	return teams[0], key, nil
}
