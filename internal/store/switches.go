package store

import (
	"context"
	"fmt"
	"slices"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// Switches returns what was switched for the installation and for a team.
func (s *Store) Switches(ctx context.Context, teamID string) (installation, team shoal.Positions, err error) {
	rows, err := s.q.ListSwitches(ctx, teamID)
	if err != nil {
		return installation, team, fmt.Errorf("list switches: %w", err)
	}
	for _, row := range rows {
		one, err := shoal.ParseSwitch(row.Name)
		if err != nil {
			continue // of a later version
		}
		at := &installation
		if row.TeamID != "" {
			at = &team
		}
		if row.IsOn {
			at.On |= one
		} else {
			at.Off |= one
		}
	}
	return installation, team, nil
}

// Standing returns how one feature was switched for all teams.
func (s *Store) Standing(ctx context.Context, one shoal.Switches) (standing shoal.Standing, err error) {
	rows, err := s.q.ListPositions(ctx, one.String())
	if err != nil {
		return standing, fmt.Errorf("list positions of the switch %s: %w", one, err)
	}
	for _, row := range rows {
		standing.Off = standing.Off || row.TeamID == "" && !row.IsOn
	}
	for _, row := range rows {
		if row.TeamID != "" && row.IsOn == standing.Off {
			standing.Others = append(standing.Others, row.TeamID)
		}
	}
	slices.Sort(standing.Others)
	return standing, nil
}

// SetSwitch switches one feature for a team, or for the installation if the ID is "".
func (s *Store) SetSwitch(ctx context.Context, teamID string, one shoal.Switches, on bool) error {
	err := s.q.SetSwitch(ctx, sqlcgen.SetSwitchParams{TeamID: teamID, Name: one.String(), IsOn: on})
	if err != nil {
		return fmt.Errorf("set the switch %s: %w", one, err)
	}
	return nil
}

// ResetSwitch makes it so that one feature was never switched for a team, or the installation.
func (s *Store) ResetSwitch(ctx context.Context, teamID string, one shoal.Switches) error {
	err := s.q.ResetSwitch(ctx, sqlcgen.ResetSwitchParams{TeamID: teamID, Name: one.String()})
	if err != nil {
		return fmt.Errorf("reset the switch %s: %w", one, err)
	}
	return nil
}
