package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

var (
	// ErrNoTier means that no tier has the name.
	ErrNoTier = errors.New("no such tier")
	// ErrInUse means that something else needs the record.
	ErrInUse = errors.New("the record is in use")
)

// Tiers returns all tiers, oldest first.
func (s *Store) Tiers(ctx context.Context) ([]shoal.Tier, error) {
	rows, err := s.q.ListTiers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tiers: %w", err)
	}
	tiers := make([]shoal.Tier, len(rows))
	for i, row := range rows {
		limits, err := tierLimitsOf(row.Limits)
		if err != nil {
			return nil, err
		}
		tiers[i] = shoal.Tier{Name: row.Name, Limits: limits, Teams: int(row.Teams)}
	}
	return tiers, nil
}

// AddTier adds a tier with some limits, and those of the default tier for the others. ErrExists if
// its name is taken.
func (s *Store) AddTier(
	ctx context.Context, name string, set shoal.LimitSet, values shoal.TeamLimits,
) (tier shoal.Tier, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		limits, err := lockTier(ctx, q, shoal.DefaultTier)
		if err != nil {
			return err
		}
		tier = shoal.Tier{Name: name, Limits: limits.With(values, set)}
		n, err := q.InsertTier(ctx, sqlcgen.InsertTierParams{Name: name,
			Limits: shoal.FormatLimits(tier.Limits, shoal.EveryLimit()), CreatedAt: time.Now().UnixMicro()})
		return tierError(changed(n, err, ErrExists, "add tier "+name), name)
	})
	return tier, err
}

// ChangeTier changes some limits of a tier, and so of all teams in it that have none of their own,
// and returns the tier. ErrNoTier if there is none.
func (s *Store) ChangeTier(
	ctx context.Context, name string, set shoal.LimitSet, values shoal.TeamLimits,
) (tier shoal.Tier, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		limits, err := lockTier(ctx, q, name)
		if err != nil {
			return err
		}
		limits = limits.With(values, set)
		n, err := q.SetTierLimits(ctx, sqlcgen.SetTierLimitsParams{Name: name,
			Limits: shoal.FormatLimits(limits, shoal.EveryLimit())})
		if err := changed(n, err, ErrNoTier, "change tier "+name); err != nil {
			return tierError(err, name)
		}
		teams, err := q.CountTeamsOfTier(ctx, name)
		tier = shoal.Tier{Name: name, Limits: limits, Teams: int(teams)}
		return lookup(err, "count the teams of tier "+name)
	})
	return tier, err
}

// RemoveTier removes a tier. ErrNoTier if there is none, ErrInUse if a team is in it or may be put
// into it without being asked.
func (s *Store) RemoveTier(ctx context.Context, name string) error {
	if name == shoal.DefaultTier {
		return tierError(ErrInUse, name)
	}
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if _, err := lockTier(ctx, q, name); err != nil {
			return err
		}
		teams, err := q.CountTeamsOfTier(ctx, name)
		if err != nil {
			return fmt.Errorf("count the teams of tier %s: %w", name, err)
		}
		if teams > 0 {
			return tierError(ErrInUse, name)
		}
		n, err := q.DeleteTier(ctx, name)
		return tierError(changed(n, err, ErrNoTier, "remove tier "+name), name)
	})
}

// lockTier returns a tier's limits, and keeps others from changing it or its teams' belonging to it
// until the end of the transaction.
func lockTier(ctx context.Context, q *sqlcgen.Queries, name string) (shoal.TeamLimits, error) {
	limits, err := q.LockTier(ctx, name)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNoTier
	}
	if err != nil {
		return shoal.TeamLimits{}, tierError(fmt.Errorf("lock tier %s: %w", name, err), name)
	}
	return tierLimitsOf(limits)
}

// tierError words what keeps a tier from being used, changed or removed.
func tierError(err error, name string) error {
	switch {
	case errors.Is(err, ErrNoTier):
		return shoal.ErrTierNotFound.Wrap(err, "There is no tier %.64q", name)
	case errors.Is(err, ErrExists):
		return shoal.ErrTierExists.Wrap(err, "There is a tier %.64q already", name)
	case errors.Is(err, ErrInUse):
		return shoal.ErrTierInUse.Wrap(err, "The tier %.64q is in use", name)
	}
	return err
}

// tierLimitsOf reads a tier's limits. One that came with a later version is as by default.
func tierLimitsOf(text string) (shoal.TeamLimits, error) {
	values, set, err := shoal.ScanLimits(text)
	if err != nil {
		return shoal.TeamLimits{}, fmt.Errorf("read the limits of a tier: %w", err)
	}
	return shoal.DefaultTeamLimits().With(values, set), nil
}
