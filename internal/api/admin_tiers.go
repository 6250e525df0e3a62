package api

import (
	"context"

	"shoal/internal/api/gen"
	"shoal/internal/shoal"
)

// ListTiers lists the tiers, oldest first.
func (s *Server) ListTiers(
	ctx context.Context, _ gen.ListTiersRequestObject,
) (gen.ListTiersResponseObject, error) {
	tiers, err := s.store.Tiers(ctx)
	rows := make(gen.ListTiers200JSONResponse, len(tiers))
	for i, tier := range tiers {
		rows[i] = wireTier(tier)
	}
	return rows, err
}

// AddTier adds a tier. Limits that are not named are those of the default tier of now, so that a
// later change of that one stays its own.
func (s *Server) AddTier(
	ctx context.Context, req gen.AddTierRequestObject,
) (gen.AddTierResponseObject, error) {
	if err := shoal.CheckTierName(req.Body.Name); err != nil {
		return nil, err
	}
	values, set, err := shoal.ParseLimits(deref(req.Body.Limits))
	if err != nil {
		return nil, err
	}
	tier, err := s.store.AddTier(ctx, req.Body.Name, set, values)
	return gen.AddTier201JSONResponse(wireTier(tier)), err
}

// ChangeTier changes some limits of a tier.
func (s *Server) ChangeTier(
	ctx context.Context, req gen.ChangeTierRequestObject,
) (gen.ChangeTierResponseObject, error) {
	values, set, err := shoal.ParseLimits(deref(req.Body.Limits))
	if err != nil {
		return nil, err
	}
	tier, err := s.store.ChangeTier(ctx, req.TierName, set, values)
	s.auth.Changed(ctx)
	return gen.ChangeTier200JSONResponse(wireTier(tier)), err
}

// RemoveTier removes a tier that no team is in.
func (s *Server) RemoveTier(
	ctx context.Context, req gen.RemoveTierRequestObject,
) (gen.RemoveTierResponseObject, error) {
	return gen.RemoveTier204Response{}, s.store.RemoveTier(ctx, req.TierName)
}

// GetTeamLimits shows what a team may.
func (s *Server) GetTeamLimits(
	ctx context.Context, req gen.GetTeamLimitsRequestObject,
) (gen.GetTeamLimitsResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	return gen.GetTeamLimits200JSONResponse(wireLimits(team)), err
}

// ChangeTeamLimits changes a team's tier and its own limits. Apis that others run notice within
// auth.CacheTTL.
func (s *Server) ChangeTeamLimits(
	ctx context.Context, req gen.ChangeTeamLimitsRequestObject,
) (gen.ChangeTeamLimitsResponseObject, error) {
	team, err := s.adminTeam(ctx, req.TeamID)
	if err != nil {
		return nil, err
	}
	change := shoal.LimitChange{Tier: deref(req.Body.Tier)}
	if change.Values, change.Set, err = shoal.ParseLimits(deref(req.Body.Limits)); err != nil {
		return nil, err
	}
	if change.Reset, err = shoal.ParseLimitNames(deref(req.Body.Reset)); err != nil {
		return nil, err
	}
	team, err = s.store.ChangeLimits(ctx, team.ID, change)
	s.auth.Changed(ctx)
	return gen.ChangeTeamLimits200JSONResponse(wireLimits(team)), err
}

func wireTier(tier shoal.Tier) gen.Tier {
	return gen.Tier{Name: tier.Name, Limits: tier.Limits.Named(), Teams: tier.Teams}
}

func wireLimits(team shoal.Team) gen.HeldLimits {
	return gen.HeldLimits{Tier: team.Tier, Limits: team.Limits.Named(), Own: team.Own.Names()}
}
