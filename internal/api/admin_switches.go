package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// ListSwitches lists what can be switched off, and whether it is for the installation.
func (s *Server) ListSwitches(
	ctx context.Context, _ gen.ListSwitchesRequestObject,
) (gen.ListSwitchesResponseObject, error) {
	rows, err := s.switchesOf(ctx, "")
	return gen.ListSwitches200JSONResponse(rows), err
}

// SetSwitch switches a feature for the installation.
func (s *Server) SetSwitch(
	ctx context.Context, req gen.SetSwitchRequestObject,
) (gen.SetSwitchResponseObject, error) {
	row, err := s.setSwitch(ctx, "", req.SwitchName, req.Body.On)
	return gen.SetSwitch200JSONResponse(row), err
}

// ListTeamSwitches lists what can be switched off, and whether it is for a team.
func (s *Server) ListTeamSwitches(
	ctx context.Context, req gen.ListTeamSwitchesRequestObject,
) (gen.ListTeamSwitchesResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	rows, err := s.switchesOf(ctx, team.ID)
	return gen.ListTeamSwitches200JSONResponse(rows), err
}

// SetTeamSwitch switches a feature for a team.
func (s *Server) SetTeamSwitch(
	ctx context.Context, req gen.SetTeamSwitchRequestObject,
) (gen.SetTeamSwitchResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	row, err := s.setSwitch(ctx, team.ID, req.SwitchName, req.Body.On)
	return gen.SetTeamSwitch200JSONResponse(row), err
}

// ResetTeamSwitch lets the installation's switch count for a team again.
func (s *Server) ResetTeamSwitch(
	ctx context.Context, req gen.ResetTeamSwitchRequestObject,
) (gen.ResetTeamSwitchResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	one, err := shoal.ParseSwitch(req.SwitchName)
	if err != nil {
		return nil, err
	}
	err = s.store.ResetSwitch(ctx, team.ID, one)
	s.auth.Changed(ctx)
	return gen.ResetTeamSwitch204Response{}, err
}

// setSwitch switches a feature for a team, or for the installation if the ID is "". Other apis
// notice at once by Redis, or within auth.CacheTTL.
func (s *Server) setSwitch(ctx context.Context, teamID, name string, on bool) (gen.Switch, error) {
	one, err := shoal.ParseSwitch(name)
	switch {
	case err != nil:
		return gen.Switch{}, err
	case on && s.auth.Fixed().Has(one):
		return gen.Switch{}, shoal.ErrSwitchFixed.New("The configuration has %s off", one)
	}
	if err := s.store.SetSwitch(ctx, teamID, one, on); err != nil {
		return gen.Switch{}, err
	}
	s.auth.Changed(ctx)
	rows, err := s.switchesOf(ctx, teamID)
	for _, row := range rows {
		if row.Name == name {
			return row, err
		}
	}
	return gen.Switch{}, err
}

func (s *Server) switchesOf(ctx context.Context, teamID string) ([]gen.Switch, error) {
	installation, team, err := s.store.Switches(ctx, teamID)
	if err != nil {
		return nil, err
	}
	var rows []gen.Switch
	for _, state := range shoal.SwitchStates(s.auth.Fixed(), installation, team) {
		row := gen.Switch{Name: state.Feature.String(), About: state.Feature.About(), On: state.On, Fixed: state.Fixed}
		if teamID != "" {
			row.Own = &state.Own
		}
		rows = append(rows, row)
	}
	return rows, nil
}
