package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/store/sqlcgen"
)

// IdentityKey is a key that signs identities of sandboxes.
type IdentityKey struct {
	ID        string
	Public    string // JWK
	Private   string // sealed in the database; "" if no key opens it
	CreatedAt time.Time
	SignsFrom time.Time // until the next one does
}

func aboutIdentityKey(id string) string { return "identity key " + id }

// AddIdentityKey stores a key.
func (s *Store) AddIdentityKey(ctx context.Context, key IdentityKey) error {
	return s.sealing(ctx, aboutIdentityKey(key.ID), key.Private, func(q *sqlcgen.Queries, sealed string) error {
		n, err := q.InsertIdentityKey(ctx, sqlcgen.InsertIdentityKeyParams{ID: key.ID, Public: key.Public, Sealed: sealed,
			CreatedAt: micros(key.CreatedAt), SignsFrom: micros(key.SignsFrom)})
		return changed(n, err, ErrExists, "store a key of identities")
	})
}

// IdentityKeys returns all keys, in the order in which they sign.
func (s *Store) IdentityKeys(ctx context.Context) ([]IdentityKey, error) {
	rows, err := s.q.ListIdentityKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the keys of identities: %w", err)
	}
	list := make([]IdentityKey, len(rows))
	for i, row := range rows {
		list[i] = IdentityKey{ID: row.ID, Public: row.Public, CreatedAt: fromMicros(row.CreatedAt),
			SignsFrom: fromMicros(row.SignsFrom)}
		// One that a lost key has sealed is published still, and another one signs.
		if private, err := s.opened(ctx, aboutIdentityKey(row.ID), row.Sealed); err == nil {
			list[i].Private = private
		}
	}
	return list, nil
}

// RemoveIdentityKey removes a key. An unknown one is no error.
func (s *Store) RemoveIdentityKey(ctx context.Context, id string) error {
	if err := s.q.DeleteIdentityKey(ctx, id); err != nil {
		return fmt.Errorf("remove a key of identities: %w", err)
	}
	return nil
}
