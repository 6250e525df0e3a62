package api

import (
	"context"

	"shoal/internal/api/gen"
)

// ListTeams lists the teams of the user who calls, each with a new API key that stands for the
// user there, which the CLI stores (api.md §3.15). To an API key it shows its team and the key
// itself.
func (s *Server) ListTeams(
	ctx context.Context, _ gen.ListTeamsRequestObject,
) (gen.ListTeamsResponseObject, error) {
	caller := callerOf(ctx)
	if caller.Key != "" {
		return gen.ListTeams200JSONResponse{{TeamID: caller.Team.ID, Name: caller.Team.Name,
			ApiKey: caller.Key, IsDefault: true}}, nil
	}
	memberships, err := s.store.Memberships(ctx, caller.User.ID)
	if err != nil {
		return nil, err
	}
	rows := make(gen.ListTeams200JSONResponse, len(memberships))
	for i, m := range memberships {
		key, err := s.people.LogIn(ctx, caller.User.ID, m)
		if err != nil {
			return nil, err
		}
		rows[i] = gen.Team{TeamID: m.Team.ID, Name: m.Team.Name, ApiKey: key, IsDefault: m.Default}
	}
	return rows, nil
}
