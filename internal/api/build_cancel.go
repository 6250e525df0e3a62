package api

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"shoal/internal/api/gen"
	"shoal/internal/build"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// CancelTeamBuilds ends all builds of a team that wait or run.
func (s *Server) CancelTeamBuilds(
	ctx context.Context, req gen.CancelTeamBuildsRequestObject,
) (gen.CancelTeamBuildsResponseObject, error) {
	id, err := uuid.Parse(req.TeamID)
	if err != nil {
		return nil, shoal.ErrBadRequest.New("Invalid team ID")
	}
	if _, err := s.store.Team(ctx, id.String()); errors.Is(err, store.ErrNotFound) {
		return nil, shoal.ErrTeamNotFound.New("Team not found")
	} else if err != nil {
		return nil, err
	}
	builds, err := s.store.ActiveBuilds(ctx, id.String())
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
