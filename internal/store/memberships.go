package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// AddMember makes a user a member of a team. The first team of a user is their default one.
// ErrExists if the user is a member already.
func (s *Store) AddMember(ctx context.Context, teamID, userID string, role shoal.Role) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockUser(ctx, userID)
		if err := changed(n, err, ErrNotFound, "lock user "+userID); err != nil {
			return err
		}
		have, err := q.CountMemberships(ctx, userID)
		if err != nil {
			return fmt.Errorf("count memberships: %w", err)
		}
		n, err = q.InsertMembership(ctx, sqlcgen.InsertMembershipParams{UserID: userID, TeamID: teamID,
			Role: string(role), CreatedAt: time.Now().UnixMicro()})
		if err := changed(n, err, ErrExists, "add user "+userID); err != nil || have > 0 {
			return err
		}
		return setDefault(ctx, q, teamID, userID)
	})
}

// SetRole changes what a member may do. Login keys of theirs in the team are removed, because
// they were made for the former role. ErrNotFound if the user is no member.
func (s *Store) SetRole(ctx context.Context, teamID, userID string, role shoal.Role) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.SetRole(ctx, sqlcgen.SetRoleParams{UserID: userID, TeamID: teamID, Role: string(role)})
		if err := changed(n, err, ErrNotFound, "change the role of user "+userID); err != nil {
			return err
		}
		return deleteLoginKeys(ctx, q, teamID, userID)
	})
}

// SetDefaultTeam says which team is meant where a user names none. ErrNotFound if the user is
// no member of it.
func (s *Store) SetDefaultTeam(ctx context.Context, teamID, userID string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error { return setDefault(ctx, q, teamID, userID) })
}

// setDefault takes two statements, because within one both teams could be the default one for a
// moment, which the index refuses.
func setDefault(ctx context.Context, q *sqlcgen.Queries, teamID, userID string) error {
	if err := q.ClearDefaultTeam(ctx, userID); err != nil {
		return fmt.Errorf("clear the default team of user %s: %w", userID, err)
	}
	n, err := q.SetDefaultTeam(ctx, sqlcgen.SetDefaultTeamParams{UserID: userID, TeamID: teamID})
	return changed(n, err, ErrNotFound, "set the default team of user "+userID)
}

// RemoveMember ends a membership, with the login keys that stand for it. If the team was the
// user's default one, the oldest of their others becomes it.
func (s *Store) RemoveMember(ctx context.Context, teamID, userID string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := deleteLoginKeys(ctx, q, teamID, userID); err != nil {
			return err
		}
		n, err := q.DeleteMembership(ctx, sqlcgen.DeleteMembershipParams{UserID: userID, TeamID: teamID})
		if err := changed(n, err, ErrNotFound, "remove user "+userID); err != nil {
			return err
		}
		rows, err := q.ListMemberships(ctx, userID)
		if err != nil {
			return fmt.Errorf("list memberships: %w", err)
		}
		for _, row := range rows {
			if row.IsDefault {
				return nil
			}
		}
		if len(rows) == 0 {
			return nil
		}
		return setDefault(ctx, q, rows[0].Team.ID, userID)
	})
}

func deleteLoginKeys(ctx context.Context, q *sqlcgen.Queries, teamID, userID string) error {
	err := q.DeleteLoginKeys(ctx, sqlcgen.DeleteLoginKeysParams{TeamID: teamID, CreatedBy: userID})
	if err != nil {
		return fmt.Errorf("delete login keys of user %s: %w", userID, err)
	}
	return nil
}

// Members returns a team's members without the team, those who came first first.
func (s *Store) Members(ctx context.Context, teamID string) ([]shoal.Membership, error) {
	rows, err := s.q.ListMembers(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	list := make([]shoal.Membership, len(rows))
	for i, row := range rows {
		list[i] = shoal.Membership{User: userOf(row.User), Role: shoal.Role(row.Role), Default: row.IsDefault}
	}
	return list, nil
}

// Memberships returns what a user is in which teams, without the user.
func (s *Store) Memberships(ctx context.Context, userID string) ([]shoal.Membership, error) {
	rows, err := s.q.ListMemberships(ctx, userID)
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	list := make([]shoal.Membership, len(rows))
	for i, row := range rows {
		if list[i], err = membershipOf(row.Team, row.TierLimits, row.Role, row.IsDefault); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Membership returns what a user is in a team, or in their default team if the team's ID is "",
// without the user. ErrNotFound if they are no member, or have no default team.
func (s *Store) Membership(ctx context.Context, teamID, userID string) (shoal.Membership, error) {
	if teamID == "" {
		row, err := s.q.DefaultMembership(ctx, userID)
		if err != nil {
			return shoal.Membership{}, lookup(err, "find the default team of user "+userID)
		}
		return membershipOf(row.Team, row.TierLimits, row.Role, row.IsDefault)
	}
	row, err := s.q.MembershipByTeam(ctx, sqlcgen.MembershipByTeamParams{UserID: userID, TeamID: teamID})
	if err != nil {
		return shoal.Membership{}, lookup(err, "find user "+userID+" in team "+teamID)
	}
	return membershipOf(row.Team, row.TierLimits, row.Role, row.IsDefault)
}

func membershipOf(team sqlcgen.Team, tierLimits, role string, isDefault bool) (shoal.Membership, error) {
	of, err := teamOf(team, tierLimits)
	return shoal.Membership{Team: of, Role: shoal.Role(role), Default: isDefault}, err
}
