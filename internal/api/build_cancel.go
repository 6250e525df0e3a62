package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/build"
)

// CancelTeamBuilds ends all builds of a team that wait or run.
func (s *Server) CancelTeamBuilds(
	ctx context.Context, req gen.CancelTeamBuildsRequestObject,
) (gen.CancelTeamBuildsResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	builds, err := s.store.ActiveBuilds(ctx, team.ID)
	if err != nil {
		return nil, err
	}
	var answer gen.CancelTeamBuilds200JSONResponse
	for _, b := range builds {
		if err := s.builds.Queue.Cancel(ctx, b, build.MessageByAdmin); err != nil {
			s.log.Error("could not cancel a build", "build", b, "error", err)
			answer.FailedCount++
			continue
		}
		answer.CancelledCount++
	}
	return answer, nil
}
