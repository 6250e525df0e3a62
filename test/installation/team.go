package installation

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/google/uuid"

	"shoal/internal/auth"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// AddTeam adds a team with an API key to the store, also while the installation runs.
func (i *Installation) AddTeam(ctx context.Context, limits shoal.TeamLimits) (teamID, key string, err error) {
	st, err := store.Open(ctx, filepath.Join(i.DataDir, "shoal.db"))
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	team := shoal.Team{ID: uuid.NewString(), Name: "others", Slug: "others-" + uuid.NewString()[:8], Limits: limits}
	if err := st.CreateTeam(ctx, team); err != nil {
		return "", "", err
	}
	key, _, err = auth.NewKeys(st).Create(ctx, shoal.APIKey{TeamID: team.ID, Name: "others"})
	return team.ID, key, err
}
