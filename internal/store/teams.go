package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// CreateTeam stores a new team. ErrExists if its ID or slug is taken. MaxLength is stored
// in whole hours, as clients see it.
func (s *Store) CreateTeam(ctx context.Context, team shoal.Team) error {
	return insertTeam(ctx, s.q, team)
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
	n, err := q.InsertTeam(ctx, sqlcgen.InsertTeamParams{
		ID: team.ID, Name: team.Name, Slug: team.Slug,
		ConcurrentSandboxes: int64(team.Limits.ConcurrentSandboxes),
		MaxLengthHours:      int64(team.Limits.MaxLength / time.Hour),
		MaxCpu:              int64(team.Limits.MaxCPU),
		MaxMemoryMb:         team.Limits.MaxMemoryMB,
		ConcurrentBuilds:    int64(team.Limits.ConcurrentBuilds),
		DiskMb:              team.Limits.DiskMB,
		CreatedAt:           time.Now().UnixMicro(),
		MayPublish:          team.MayPublish,
		Sandboxes:           int64(team.Limits.Sandboxes),
		Builds:              int64(team.Limits.Builds),
		StorageGb:           team.Limits.StorageGB,
		EventDays:           eventDays(team.Limits),
	})
	return changed(n, err, ErrExists, "create team "+team.Slug)
}

// eventDays is how long a team's events are kept, a day at least: webhooks are tried for as
// long.
func eventDays(limits shoal.TeamLimits) int64 {
	return int64(min(max(limits.EventDays, 1), shoal.MaxEventDays))
}

// Team returns a team by its ID.
func (s *Store) Team(ctx context.Context, id string) (shoal.Team, error) {
	row, err := s.q.TeamByID(ctx, id)
	return teamOf(row), lookup(err, "find team "+id)
}

// TeamBySlug returns a team by its slug.
func (s *Store) TeamBySlug(ctx context.Context, slug string) (shoal.Team, error) {
	row, err := s.q.TeamBySlug(ctx, slug)
	return teamOf(row), lookup(err, "find team "+slug)
}

// Teams returns all teams, oldest first.
func (s *Store) Teams(ctx context.Context) ([]shoal.Team, error) {
	rows, err := s.q.ListTeams(ctx)
	if err != nil {
		return nil, fmt.Errorf("list teams: %w", err)
	}
	teams := make([]shoal.Team, len(rows))
	for i, row := range rows {
		teams[i] = teamOf(row)
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

// SetLimits stores a team's limits.
func (s *Store) SetLimits(ctx context.Context, teamID string, limits shoal.TeamLimits) error {
	n, err := s.q.SetTeamLimits(ctx, sqlcgen.SetTeamLimitsParams{ID: teamID,
		ConcurrentSandboxes: int64(limits.ConcurrentSandboxes), Sandboxes: int64(limits.Sandboxes),
		MaxLengthHours: int64(limits.MaxLength / time.Hour), MaxCpu: int64(limits.MaxCPU),
		MaxMemoryMb: limits.MaxMemoryMB, DiskMb: limits.DiskMB,
		ConcurrentBuilds: int64(limits.ConcurrentBuilds), Builds: int64(limits.Builds),
		StorageGb: limits.StorageGB, EventDays: eventDays(limits)})
	return changed(n, err, ErrNotFound, "change team "+teamID)
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

func teamOf(row sqlcgen.Team) shoal.Team {
	return shoal.Team{ID: row.ID, Name: row.Name, Slug: row.Slug,
		Limits: shoal.TeamLimits{
			ConcurrentSandboxes: int(row.ConcurrentSandboxes),
			Sandboxes:           int(row.Sandboxes),
			Builds:              int(row.Builds),
			MaxLength:           time.Duration(row.MaxLengthHours) * time.Hour,
			MaxCPU:              int(row.MaxCpu),
			MaxMemoryMB:         row.MaxMemoryMb,
			ConcurrentBuilds:    int(row.ConcurrentBuilds),
			DiskMB:              row.DiskMb,
			StorageGB:           row.StorageGb,
			EventDays:           int(row.EventDays),
		},
		Blocked: row.Blocked, BlockedReason: row.BlockedReason, Banned: row.Banned,
		MayPublish: row.MayPublish,
	}
}
