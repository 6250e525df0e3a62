package store

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/store/sqlcgen"
)

// Creation is the create of a sandbox under an idempotency key.
type Creation struct {
	TeamID string
	Key    string
	Digest string // of the request
	// SandboxID is chosen before the sandbox starts, so that it can be looked for if the
	// process ends before it has stored an answer.
	SandboxID string
	Server    string // the api that makes it
	Answer    string // "" until the create has ended well
	StartedAt time.Time
}

// Creation returns the create that a team has begun under a key since the given time.
func (s *Store) Creation(ctx context.Context, teamID, key string, since time.Time) (Creation, error) {
	row, err := s.q.CreationByKey(ctx,
		sqlcgen.CreationByKeyParams{TeamID: teamID, Key: key, CreatedAt: micros(since)})
	if err != nil {
		return Creation{}, lookup(err, "find a create by its idempotency key")
	}
	return Creation{TeamID: row.TeamID, Key: row.Key, Digest: row.Digest, SandboxID: row.SandboxID,
		Server: row.Server, Answer: row.Answer, StartedAt: fromMicros(row.CreatedAt)}, nil
}

// BeginCreation stores a create before its sandbox starts. It forgets all creates from before
// the given time, and the team's oldest ones beyond the given number, which is at least 1.
// ErrExists if the key is in use.
func (s *Store) BeginCreation(ctx context.Context, c Creation, since time.Time, most int) error {
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := q.DeleteOldCreations(ctx, micros(since)); err != nil {
			return fmt.Errorf("forget old idempotency keys: %w", err)
		}
		n, err := q.InsertCreation(ctx, sqlcgen.InsertCreationParams{TeamID: c.TeamID, Key: c.Key,
			Digest: c.Digest, SandboxID: c.SandboxID, Server: c.Server, CreatedAt: micros(c.StartedAt)})
		if err := changed(n, err, ErrExists, "store an idempotency key"); err != nil {
			return err
		}
		err = q.DeleteExcessCreations(ctx,
			sqlcgen.DeleteExcessCreationsParams{TeamID: c.TeamID, Offset: int32(most - 1)})
		if err != nil {
			return fmt.Errorf("forget a team's oldest idempotency keys: %w", err)
		}
		return nil
	})
}

// MoveCreation stores that another attempt makes a sandbox of another ID. ErrNotFound if the
// create is not under way any more.
func (s *Store) MoveCreation(ctx context.Context, c Creation, sandboxID string) error {
	n, err := s.q.MoveCreation(ctx, sqlcgen.MoveCreationParams{TeamID: c.TeamID, Key: c.Key,
		SandboxID: c.SandboxID, SandboxID_2: sandboxID})
	return changed(n, err, ErrNotFound, "store the next attempt of a create")
}

// EndCreation stores the answer of a create that has ended well. ErrNotFound if its key was
// forgotten meanwhile.
func (s *Store) EndCreation(ctx context.Context, c Creation, answer string) error {
	n, err := s.q.EndCreation(ctx, sqlcgen.EndCreationParams{TeamID: c.TeamID, Key: c.Key,
		SandboxID: c.SandboxID, Answer: answer})
	return changed(n, err, ErrNotFound, "store the answer of a create")
}

// ForgetCreation frees the key of a create that has made nothing. One that has an answer
// stays.
func (s *Store) ForgetCreation(ctx context.Context, c Creation) error {
	err := s.q.DeleteCreation(ctx,
		sqlcgen.DeleteCreationParams{TeamID: c.TeamID, Key: c.Key, SandboxID: c.SandboxID})
	return lookup(err, "free an idempotency key")
}
