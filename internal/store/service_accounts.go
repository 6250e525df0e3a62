package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MaxServiceAccounts is how many service accounts a team may have.
const MaxServiceAccounts = 100

// CreateServiceAccount stores a service account of u.ServiceTeam, as a member of a role. ErrExists
// if the ID or the address is taken, ErrFull if the team has MaxServiceAccounts.
func (s *Store) CreateServiceAccount(ctx context.Context, u shoal.User, role shoal.Role) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockTeam(ctx, u.ServiceTeam)
		if err := changed(n, err, ErrNotFound, "lock team "+u.ServiceTeam); err != nil {
			return err
		}
		have, err := q.CountServiceAccounts(ctx, u.ServiceTeam)
		if err != nil {
			return fmt.Errorf("count service accounts: %w", err)
		}
		if have >= MaxServiceAccounts {
			return fmt.Errorf("create service account %s: %w", u.Email, ErrFull)
		}
		n, err = q.InsertUser(ctx, sqlcgen.InsertUserParams{ID: u.ID, Email: u.Email, CreatedAt: micros(u.CreatedAt),
			ServiceTeam: u.ServiceTeam})
		if err := changed(n, err, ErrExists, "create service account "+u.Email); err != nil {
			return err
		}
		n, err = q.InsertMembership(ctx, sqlcgen.InsertMembershipParams{UserID: u.ID, TeamID: u.ServiceTeam,
			Role: string(role), CreatedAt: time.Now().UnixMicro()})
		if err := changed(n, err, ErrExists, "add service account "+u.Email); err != nil {
			return err
		}
		return setDefault(ctx, q, u.ServiceTeam, u.ID)
	})
}

// ServiceAccounts returns a team's service accounts, oldest first, without the team. The role of
// one that is no member any more is "".
func (s *Store) ServiceAccounts(ctx context.Context, teamID string) ([]shoal.Membership, error) {
	rows, err := s.q.ListServiceAccounts(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list service accounts: %w", err)
	}
	list := make([]shoal.Membership, len(rows))
	for i, row := range rows {
		list[i] = shoal.Membership{User: userOf(row.User), Role: shoal.Role(row.Role)}
	}
	return list, nil
}

// ServiceAccount returns one of a team's service accounts. ErrNotFound if it has none of this ID.
func (s *Store) ServiceAccount(ctx context.Context, teamID, id string) (shoal.Membership, error) {
	row, err := s.q.ServiceAccount(ctx, sqlcgen.ServiceAccountParams{ServiceTeam: teamID, ID: id})
	return shoal.Membership{User: userOf(row.User), Role: shoal.Role(row.Role)}, lookup(err, "find service account "+id)
}

// DeleteServiceAccount removes a service account of a team with its keys. ErrNotFound if the team
// has none of this ID.
func (s *Store) DeleteServiceAccount(ctx context.Context, teamID, id string) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.DeleteServiceAccount(ctx, sqlcgen.DeleteServiceAccountParams{ServiceTeam: teamID, ID: id})
		if err := changed(n, err, ErrNotFound, "delete service account "+id); err != nil {
			return err
		}
		return q.DeleteOwnedKeys(ctx, id)
	})
}
