package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// MaxKeys is how many API keys a team may have, and MaxLoginKeys how many of them a user may
// have from logging in: a further one replaces the one that was unused for longest.
const (
	MaxKeys      = 1000
	MaxLoginKeys = 10
)

// ErrFull means that there are as many records of the kind as there may be.
var ErrFull = errors.New("there are as many as there may be")

// CreateKey stores a key's hash and mask. ErrExists if the hash is already stored, ErrFull if
// the team has MaxKeys.
func (s *Store) CreateKey(ctx context.Context, key shoal.APIKey) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.LockTeam(ctx, key.TeamID)
		if err := changed(n, err, ErrNotFound, "lock team "+key.TeamID); err != nil {
			return err
		}
		if key.Login {
			err := q.DeleteStaleLoginKeys(ctx, sqlcgen.DeleteStaleLoginKeysParams{TeamID: key.TeamID,
				CreatedBy: key.CreatedBy, Offset: MaxLoginKeys - 1})
			if err != nil {
				return fmt.Errorf("remove stale login keys: %w", err)
			}
		}
		if err := insertKey(ctx, q, key); err != nil {
			return err
		}
		have, err := q.CountKeys(ctx, key.TeamID)
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		if have > MaxKeys {
			return fmt.Errorf("create key %s: %w", key.Name, ErrFull)
		}
		return nil
	})
}

func insertKey(ctx context.Context, q *sqlcgen.Queries, key shoal.APIKey) error {
	n, err := q.InsertKey(ctx, sqlcgen.InsertKeyParams{ID: key.ID, TeamID: key.TeamID, Name: key.Name,
		Hash: key.Hash, MaskPrefix: key.Mask.Prefix, MaskSuffix: key.Mask.Suffix,
		Length: int64(key.Mask.Length), CreatedAt: micros(key.CreatedAt), CreatedBy: key.CreatedBy,
		Scopes: key.Scopes.String(), ExpiresAt: micros(key.ExpiresAt), Login: key.Login,
		Owner: key.Owner})
	return changed(n, err, ErrExists, "create key "+key.Name)
}

// Keys returns a team's keys, oldest first.
func (s *Store) Keys(ctx context.Context, teamID string) ([]shoal.APIKey, error) {
	rows, err := s.q.ListKeys(ctx, teamID)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	keys := make([]shoal.APIKey, len(rows))
	for i, row := range rows {
		if keys[i], err = keyOf(row); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// RenameKey gives a team's key another name and returns it. ErrNotFound if the team has no key
// with this ID.
func (s *Store) RenameKey(ctx context.Context, teamID, id, name string) (key shoal.APIKey, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		n, err := q.RenameKey(ctx, sqlcgen.RenameKeyParams{ID: id, TeamID: teamID, Name: name})
		if err := changed(n, err, ErrNotFound, "rename key "+id); err != nil {
			return err
		}
		row, err := q.KeyByID(ctx, sqlcgen.KeyByIDParams{ID: id, TeamID: teamID})
		if err != nil {
			return lookup(err, "find key "+id)
		}
		key, err = keyOf(row)
		return err
	})
	return key, err
}

// DeleteKey removes a team's key. ErrNotFound if the team has no key with this ID.
func (s *Store) DeleteKey(ctx context.Context, teamID, id string) error {
	n, err := s.q.DeleteKey(ctx, sqlcgen.DeleteKeyParams{ID: id, TeamID: teamID})
	return changed(n, err, ErrNotFound, "delete key "+id)
}

// KeyOwner returns the key with this hash and its team.
func (s *Store) KeyOwner(ctx context.Context, hash string) (shoal.Team, shoal.APIKey, error) {
	row, err := s.q.TeamByKeyHash(ctx, hash)
	if err != nil {
		return shoal.Team{}, shoal.APIKey{}, lookup(err, "find a key")
	}
	team, err := teamOf(row.Team, row.TierLimits)
	if err != nil {
		return shoal.Team{}, shoal.APIKey{}, err
	}
	key, err := keyOf(row.ApiKey)
	return team, key, err
}

// TouchKey stores when a key was last used.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time) error {
	err := s.q.TouchKey(ctx, sqlcgen.TouchKeyParams{ID: id, LastUsed: micros(at)})
	return lookup(err, "note the use of key "+id)
}

// keyOf fails for scopes that this version does not know: left out, they would widen what the
// key may do.
func keyOf(row sqlcgen.ApiKey) (shoal.APIKey, error) {
	scopes, err := shoal.ParseScopes(strings.Fields(row.Scopes))
	if err != nil {
		return shoal.APIKey{}, fmt.Errorf("read the scopes of key %s: %w", row.ID, err)
	}
	return shoal.APIKey{ID: row.ID, TeamID: row.TeamID, Name: row.Name, Hash: row.Hash,
		Mask:      shoal.Mask{Prefix: row.MaskPrefix, Suffix: row.MaskSuffix, Length: int(row.Length)},
		CreatedBy: row.CreatedBy, Scopes: scopes, Login: row.Login, Owner: row.Owner,
		CreatedAt: fromMicros(row.CreatedAt), ExpiresAt: fromMicros(row.ExpiresAt),
		LastUsed: fromMicros(row.LastUsed)}, nil
}
