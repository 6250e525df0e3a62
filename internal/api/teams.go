package api

import (
	"context"

	"shoal/internal/api/gen"
)

// ListTeams returns the caller's one team with the key that was presented. The
// CLI stores that key; there are no users with further teams.
func (s *Server) ListTeams(
	ctx context.Context, _ gen.ListTeamsRequestObject,
) (gen.ListTeamsResponseObject, error) {
	caller := callerOf(ctx)
	return gen.ListTeams200JSONResponse{{TeamID: caller.Team.ID, Name: caller.Team.Name,
		ApiKey: caller.Key, IsDefault: true}}, nil
}
