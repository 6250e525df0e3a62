package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// ErrBusy means that a record was changed by others each time that it was to be changed.
var ErrBusy = errors.New("the record is being changed")

// aboutSecret is what a value of a secret is sealed for: it opens as no other version, and in no other
// record.
func aboutSecret(teamID, id string, version int64) string {
	return fmt.Sprintf("secret %s %s %d", teamID, id, version)
}

// AddSecret stores a secret with its first value. ErrFull if the team has as many as most, ErrExists
// if it has one of the name.
func (s *Store) AddSecret(ctx context.Context, secret shoal.Secret, value string, most int) error {
	metadata, err := encodeMetadata(secret.Metadata)
	if err != nil {
		return err
	}
	about := aboutSecret(secret.TeamID, secret.ID, secret.Version)
	return s.sealing(ctx, about, value, func(q *sqlcgen.Queries, sealed string) error {
		n, err := q.LockTeam(ctx, secret.TeamID)
		if err := changed(n, err, ErrNotFound, "find team "+secret.TeamID); err != nil {
			return err
		}
		n, err = q.InsertSecret(ctx, sqlcgen.InsertSecretParams{ID: secret.ID, TeamID: secret.TeamID, Name: secret.Name,
			Version: secret.Version, Sealed: sealed, Metadata: metadata,
			CreatedAt: micros(secret.CreatedAt), UpdatedAt: micros(secret.UpdatedAt)})
		if err := changed(n, err, ErrExists, "store a secret"); err != nil {
			return err
		}
		count, err := q.CountSecrets(ctx, secret.TeamID)
		if err != nil {
			return fmt.Errorf("count secrets: %w", err)
		}
		if count > int64(most) {
			return fmt.Errorf("store a secret: %w", ErrFull)
		}
		return nil
	})
}

// Secret returns one of a team's secrets by its ID or name.
func (s *Store) Secret(ctx context.Context, teamID, idOrName string) (shoal.Secret, error) {
	row, err := s.q.Secret(ctx, sqlcgen.SecretParams{TeamID: teamID, ID: idOrName})
	if err != nil {
		return shoal.Secret{}, lookup(err, "find a secret")
	}
	return secretOf(row)
}

// SecretValue is Secret with the value.
func (s *Store) SecretValue(ctx context.Context, teamID, idOrName string) (shoal.Secret, string, error) {
	row, err := s.q.Secret(ctx, sqlcgen.SecretParams{TeamID: teamID, ID: idOrName})
	if err != nil {
		return shoal.Secret{}, "", lookup(err, "find a secret")
	}
	secret, err := secretOf(row)
	if err != nil {
		return shoal.Secret{}, "", err
	}
	value, err := s.opened(ctx, aboutSecret(row.TeamID, row.ID, row.Version), row.Sealed)
	return secret, value, err
}

// opened is a value that must be sealed.
func (s *Store) opened(ctx context.Context, about, sealed string) (string, error) {
	if s.ring == nil {
		return "", errSealed(errors.New("no key was loaded"))
	}
	value, err := s.ring.Open(ctx, about, sealed)
	if err != nil {
		return "", errSealed(err)
	}
	return string(value), nil
}

// ChangeSecret gives a secret a new value, and metadata unless it is nil. ErrBusy if others change it
// all the time.
func (s *Store) ChangeSecret(
	ctx context.Context, teamID, idOrName, value string, metadata map[string]string, now time.Time,
) (shoal.Secret, error) {
	for range 5 {
		secret, err := s.Secret(ctx, teamID, idOrName)
		if err != nil {
			return shoal.Secret{}, err
		}
		former := secret.Version
		secret.Version, secret.UpdatedAt = former+1, now
		if metadata != nil {
			secret.Metadata = metadata
		}
		text, err := encodeMetadata(secret.Metadata)
		if err != nil {
			return shoal.Secret{}, err
		}
		about := aboutSecret(secret.TeamID, secret.ID, secret.Version)
		err = s.sealing(ctx, about, value, func(q *sqlcgen.Queries, sealed string) error {
			n, err := q.UpdateSecret(ctx, sqlcgen.UpdateSecretParams{ID: secret.ID, Version: former,
				Version_2: secret.Version, Sealed: sealed, Metadata: text, UpdatedAt: micros(now)})
			return changed(n, err, ErrBusy, "change a secret")
		})
		if !errors.Is(err, ErrBusy) {
			return secret, err
		}
	}
	return shoal.Secret{}, ErrBusy
}

// SecretPlace is where a page of secrets ended.
type SecretPlace struct {
	At time.Time
	ID string
}

// Secrets returns a page of a team's secrets, newest first.
func (s *Store) Secrets(ctx context.Context, teamID string, after *SecretPlace, limit int) ([]shoal.Secret, error) {
	at, id := endOfTime, lastID
	if after != nil {
		at, id = micros(after.At), after.ID
	}
	rows, err := s.q.ListSecrets(ctx, sqlcgen.ListSecretsParams{TeamID: teamID, At: at, ID: id, Most: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	list := make([]shoal.Secret, len(rows))
	for i, row := range rows {
		list[i], err = secretOf(sqlcgen.Secret{ID: row.ID, TeamID: row.TeamID, Name: row.Name, Version: row.Version,
			Metadata: row.Metadata, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// RemoveSecret removes one of a team's secrets by its ID.
func (s *Store) RemoveSecret(ctx context.Context, teamID, id string) error {
	n, err := s.q.DeleteSecret(ctx, sqlcgen.DeleteSecretParams{TeamID: teamID, ID: id})
	return changed(n, err, ErrNotFound, "remove a secret")
}

func secretOf(row sqlcgen.Secret) (shoal.Secret, error) {
	secret := shoal.Secret{ID: row.ID, TeamID: row.TeamID, Name: row.Name, Version: row.Version,
		CreatedAt: fromMicros(row.CreatedAt), UpdatedAt: fromMicros(row.UpdatedAt)}
	if err := json.Unmarshal([]byte(row.Metadata), &secret.Metadata); err != nil {
		return shoal.Secret{}, fmt.Errorf("read the metadata of secret %s: %w", row.ID, err)
	}
	return secret, nil
}

func encodeMetadata(metadata map[string]string) (string, error) {
	if metadata == nil {
		metadata = map[string]string{}
	}
	text, err := json.Marshal(metadata)
	if err != nil {
		return "", fmt.Errorf("write metadata: %w", err)
	}
	return string(text), nil
}
