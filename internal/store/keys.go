package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// CreateKey stores a key's hash and masks. ErrExists if the hash is already stored.
func (s *Store) CreateKey(ctx context.Context, key shoal.APIKey) error {
	return insertKey(ctx, s.q, key)
}

func insertKey(ctx context.Context, q *sqlcgen.Queries, key shoal.APIKey) error {
	n, err := q.InsertKey(ctx, sqlcgen.InsertKeyParams{ID: key.ID, TeamID: key.TeamID, Name: key.Name,
		Hash: key.Hash, MaskPrefix: key.MaskPrefix, MaskSuffix: key.MaskSuffix,
		Length: int64(key.Length), CreatedAt: micros(key.CreatedAt)})
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
		keys[i] = shoal.APIKey{ID: row.ID, TeamID: row.TeamID, Name: row.Name, Hash: row.Hash,
			MaskPrefix: row.MaskPrefix, MaskSuffix: row.MaskSuffix, Length: int(row.Length),
			CreatedAt: fromMicros(row.CreatedAt), LastUsed: fromMicros(row.LastUsed)}
	}
	return keys, nil
}

// DeleteKey removes a team's key. ErrNotFound if the team has no key with this ID.
func (s *Store) DeleteKey(ctx context.Context, teamID, id string) error {
	n, err := s.q.DeleteKey(ctx, sqlcgen.DeleteKeyParams{ID: id, TeamID: teamID})
	return changed(n, err, ErrNotFound, "delete key "+id)
}

// KeyOwner returns the team of the key with this hash, the key's ID and the stored hash.
func (s *Store) KeyOwner(
	ctx context.Context,
	hash string,
) (team shoal.Team, keyID, stored string, err error) {
	row, err := s.q.TeamByKeyHash(ctx, hash)
	return teamOf(row.Team), row.KeyID, row.KeyHash, lookup(err, "find a key")
}

// TouchKey stores when a key was last used.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time) error {
	err := s.q.TouchKey(ctx, sqlcgen.TouchKeyParams{ID: id, LastUsed: micros(at)})
	return lookup(err, "note the use of key "+id)
}
