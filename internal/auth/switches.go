package auth

import (
	"context"

	"shoal/internal/shoal"
)

// Off returns the features that are switched off for a team, as they were within CacheTTL.
func (a *Authenticator) Off(ctx context.Context, teamID string) (shoal.Switches, error) {
	return a.off.get(teamID, func() (shoal.Switches, error) {
		installation, team, err := a.store.Switches(ctx, teamID)
		return shoal.OffFor(a.cfg.Off, installation, team), err
	})
}

// Fixed are the features that are off by the configuration.
func (a *Authenticator) Fixed() shoal.Switches { return a.cfg.Off }

// Standing returns how a feature stands for all teams, as the store has it now.
func (a *Authenticator) Standing(ctx context.Context, one shoal.Switches) (shoal.Standing, error) {
	if a.cfg.Off.Has(one) {
		return shoal.Standing{Off: true}, nil
	}
	return a.store.Standing(ctx, one)
}
