package api

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// killsAtOnce is how many sandboxes of a team are ended side by side: each end has machines write
// and wait, and others' calls go on meanwhile.
const killsAtOnce = 16

// adminTeam finds the team in the path of an admin route.
func (s *Server) adminTeam(ctx context.Context, pathID string) (shoal.Team, error) {
	id, err := uuid.Parse(pathID)
	if err != nil {
		return shoal.Team{}, shoal.ErrBadRequest.New("Invalid team ID")
	}
	team, err := s.store.Team(ctx, id.String())
	if errors.Is(err, store.ErrNotFound) {
		err = shoal.ErrTeamNotFound.New("Team not found")
	}
	return team, err
}

// CreateTeamAPIKey makes a key of a team that is neither banned nor blocked.
func (s *Server) CreateTeamAPIKey(
	ctx context.Context, req gen.CreateTeamAPIKeyRequestObject,
) (gen.CreateTeamAPIKeyResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	switch {
	case err != nil:
		return nil, err
	case team.Banned:
		return nil, shoal.ErrForbidden.New("team is banned")
	case team.Blocked:
		return nil, blocked(team)
	}
	made, err := s.createKey(ctx, shoal.APIKey{TeamID: team.ID}, *req.Body)
	return gen.CreateTeamAPIKey201JSONResponse(made), err
}

// DeleteTeamAPIKey ends a key of a team.
func (s *Server) DeleteTeamAPIKey(
	ctx context.Context, req gen.DeleteTeamAPIKeyRequestObject,
) (gen.DeleteTeamAPIKeyResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	err = s.deleteKey(ctx, team.ID, req.ApiKeyID, "API key not found")
	return gen.DeleteTeamAPIKey204Response{}, err
}

// KillTeamSandboxes ends what a team has running. Paused sandboxes stay: they use nothing but the
// disk, and their data would be lost.
func (s *Server) KillTeamSandboxes(
	ctx context.Context, req gen.KillTeamSandboxesRequestObject,
) (gen.KillTeamSandboxesResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	s.auth.Changed(ctx) // who ends a team's sandboxes has often blocked the team just now
	list, err := s.fleet.List(ctx)
	if err != nil {
		return nil, err
	}
	var doomed []shoal.Sandbox
	for _, sb := range list {
		if sb.TeamID == team.ID && sb.State != shoal.StatePaused {
			doomed = append(doomed, sb)
		}
	}
	errs := make([]error, len(doomed))
	var g errgroup.Group
	g.SetLimit(killsAtOnce)
	for i, sb := range doomed {
		g.Go(func() error {
			errs[i] = s.killAsAdmin(ctx, sb.SandboxID)
			return nil
		})
	}
	_ = g.Wait()
	var answer gen.KillTeamSandboxes200JSONResponse
	for i, err := range errs {
		switch {
		case err == nil:
			answer.KilledCount++
		case !shoal.ErrSandboxNotFound.Matches(err): // otherwise it has ended by itself
			s.log.Error("could not end a sandbox of a team", "sandbox", doomed[i].SandboxID, "error", err)
			answer.FailedCount++
		}
	}
	return answer, nil
}

func (s *Server) killAsAdmin(ctx context.Context, sandboxID string) error {
	node, _, err := s.fleet.Locate(ctx, sandboxID)
	if err != nil {
		return err
	}
	if err := node.Kill(ctx, sandboxID, shoal.KillAdmin); err != nil {
		return err
	}
	s.fleet.Forget(ctx, sandboxID)
	return nil
}
