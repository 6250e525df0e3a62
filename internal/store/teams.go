package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// CreateTeam stores a new team. Where its limits are not its tier's they become its own; if it has
// none, all are its tier's. ErrExists if its ID or slug is taken, ErrNoTier if there is no such tier;
// "" is the default one.
func (s *Store) CreateTeam(ctx context.Context, team shoal.Team) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error { return insertTeam(ctx, q, team) })
}

// CreateTeamWithKey stores a team and its first key in one transaction. ErrExists if the
// team already exists.
func (s *Store) CreateTeamWithKey(ctx context.Context, team shoal.Team, key shoal.APIKey) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := insertTeam(ctx, q, team); err != nil {
			return err
		}
		return insertKey(ctx, q, key)
	})
}

func insertTeam(ctx context.Context, q *sqlcgen.Queries, team shoal.Team) error {
	var own shoal.LimitSet
	tier := cmp.Or(team.Tier, shoal.DefaultTier)
	limits, err := lockTier(ctx, q, tier)
	if err != nil {
		return err
	}
	if team.Limits != (shoal.TeamLimits{}) {
		own = team.Limits.Besides(limits)
	}
	n, err := q.InsertTeam(ctx, sqlcgen.InsertTeamParams{ID: team.ID, Name: team.Name, Slug: team.Slug,
		CreatedAt: time.Now().UnixMicro(), MayPublish: team.MayPublish, Tier: tier,
		Limits: shoal.FormatLimits(team.Limits, own)})
	return changed(n, err, ErrExists, "create team "+team.Slug)
}

// Team returns a team by its ID.
func (s *Store) Team(ctx context.Context, id string) (shoal.Team, error) {
	row, err := s.q.TeamByID(ctx, id)
	if err != nil {
		return shoal.Team{}, lookup(err, "find team "+id)
	}
	return teamOf(row.Team, row.TierLimits)
}

// TeamBySlug returns a team by its slug.
func (s *Store) TeamBySlug(ctx context.Context, slug string) (shoal.Team, error) {
	row, err := s.q.TeamBySlug(ctx, slug)
	if err != nil {
		return shoal.Team{}, lookup(err, "find team "+slug)
	}
	return teamOf(row.Team, row.TierLimits)
}

// Teams returns all teams, oldest first.
func (s *Store) Teams(ctx context.Context) ([]shoal.Team, error) {
	rows, err := s.q.ListTeams(ctx)
	if err != nil {
		return nil, fmt.Errorf("list teams: %w", err)
	}
	teams := make([]shoal.Team, len(rows))
	for i, row := range rows {
		if teams[i], err = teamOf(row.Team, row.TierLimits); err != nil {
			return nil, err
		}
	}
	return teams, nil
}

// SetStanding stores whether a team is blocked or banned.
func (s *Store) SetStanding(ctx context.Context, team shoal.Team) error {
	n, err := s.q.SetTeamStanding(ctx, sqlcgen.SetTeamStandingParams{ID: team.ID,
		Blocked: team.Blocked, BlockedReason: team.BlockedReason, Banned: team.Banned})
	return changed(n, err, ErrNotFound, "change team "+team.ID)
}

// SetMayPublish stores whether a team may show its templates to all teams.
func (s *Store) SetMayPublish(ctx context.Context, teamID string, may bool) error {
	n, err := s.q.SetTeamMayPublish(ctx, sqlcgen.SetTeamMayPublishParams{ID: teamID, MayPublish: may})
	return changed(n, err, ErrNotFound, "change team "+teamID)
}

// ChangeLimits changes a team's tier and its own limits, and returns the team. ErrNotFound if there
// is no such team, ErrNoTier if there is no such tier.
func (s *Store) ChangeLimits(
	ctx context.Context, teamID string, change shoal.LimitChange,
) (team shoal.Team, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if change.Tier != "" { // before the team, as whoever removes the tier
			if _, err := lockTier(ctx, q, change.Tier); err != nil {
				return err
			}
		}
		n, err := q.LockTeam(ctx, teamID)
		if err := changed(n, err, ErrNotFound, "lock team "+teamID); err != nil {
			return err
		}
		row, err := q.TeamByID(ctx, teamID)
		if err != nil {
			return lookup(err, "find team "+teamID)
		}
		if team, err = teamOf(row.Team, row.TierLimits); err != nil {
			return err
		}
		own, limits := change.Of(team.Own, team.Limits)
		n, err = q.SetTeamLimits(ctx, sqlcgen.SetTeamLimitsParams{ID: teamID,
			Tier: cmp.Or(change.Tier, team.Tier), Limits: shoal.FormatLimits(limits, own)})
		if err := changed(n, err, ErrNotFound, "change team "+teamID); err != nil {
			return err
		}
		if row, err = q.TeamByID(ctx, teamID); err != nil {
			return lookup(err, "find team "+teamID)
		}
		team, err = teamOf(row.Team, row.TierLimits)
		return err
	})
	return team, err
}

// Kept is how many templates a team keeps, or how many builds and snapshots of them that have
// not failed, whichever is more.
func (s *Store) Kept(ctx context.Context, teamID string) (int, error) {
	return kept(ctx, s.q, teamID)
}

func kept(ctx context.Context, q *sqlcgen.Queries, teamID string) (int, error) {
	row, err := q.CountKept(ctx, teamID)
	return int(max(row.Templates, row.Builds)), lookup(err, "count what team "+teamID+" keeps")
}

// teamOf is a team with the limits that hold: its own, and for the others those of its tier.
func teamOf(row sqlcgen.Team, tierLimits string) (shoal.Team, error) {
	limits, err := tierLimitsOf(tierLimits)
	if err != nil {
		return shoal.Team{}, err
	}
	values, own, err := shoal.ScanLimits(row.Limits)
	if err != nil {
		return shoal.Team{}, fmt.Errorf("read the limits of team %s: %w", row.ID, err)
	}
	return shoal.Team{ID: row.ID, Name: row.Name, Slug: row.Slug, Tier: row.Tier,
		Limits: limits.With(values, own), Own: own,
		Blocked: row.Blocked, BlockedReason: row.BlockedReason, Banned: row.Banned,
		MayPublish: row.MayPublish,
	}, nil
}
