package store

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/keyring"
	"shoal/internal/store/sqlcgen"
)

// resealAtOnce is how many values are read at once to be sealed anew.
const resealAtOnce = 50

// Reseal has the ring's first key seal from now on, and wrap the data keys of all that others have
// sealed; with every also what it has sealed itself, for a key that a program has changed. It may be cut
// off at any time, and called again. What is done is told by progress, with how many values it was.
func (s *Store) Reseal(ctx context.Context, every bool, progress func(done int)) error {
	if s.ring == nil {
		return errSealed(errors.New("no key was loaded"))
	}
	if err := s.SealAll(ctx); err != nil {
		return err
	}
	id := s.ring.First()
	n, err := s.q.SetSealKey(ctx, id)
	if err := changed(n, err, ErrNotFound, "change the key that seals"); err != nil {
		return err
	}
	head := keyring.Head(id)
	if every {
		head = ""
	}
	r := &resealer{store: s, id: id, head: head, progress: progress}
	for _, list := range []func(context.Context, string) ([]sealedRow, error){r.webhooks, r.secrets, r.identityKeys} {
		if err := r.reseal(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// sealedRow is one sealed value, and how it is replaced unless it has changed meanwhile.
type sealedRow struct {
	id, about, sealed string
	replace           func(ctx context.Context, resealed string) (int64, error)
}

type resealer struct {
	store    *Store
	id, head string
	done     int
	progress func(int)
}

// reseal goes through a table by its IDs. What others store meanwhile is sealed by the new key.
func (r *resealer) reseal(ctx context.Context, list func(context.Context, string) ([]sealedRow, error)) error {
	for after := ""; ; {
		rows, err := list(ctx, after)
		if err != nil {
			return fmt.Errorf("list what is to be sealed anew: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		for _, row := range rows {
			after = row.id
			resealed, err := r.store.ring.Rewrap(ctx, r.id, row.about, row.sealed)
			if err != nil {
				return errSealed(fmt.Errorf("%s: %w", row.id, err))
			}
			if _, err := row.replace(ctx, resealed); err != nil {
				return fmt.Errorf("seal %s anew: %w", row.id, err)
			}
			r.done++
		}
		r.progress(r.done)
	}
}

func (r *resealer) webhooks(ctx context.Context, after string) ([]sealedRow, error) {
	rows, err := r.store.q.WebhooksToReseal(ctx, sqlcgen.WebhooksToResealParams{After: after, Head: r.head, Most: resealAtOnce})
	list := make([]sealedRow, len(rows))
	for i, row := range rows {
		list[i] = sealedRow{row.ID, row.ID, row.Secret, func(ctx context.Context, resealed string) (int64, error) {
			return r.store.q.ResealWebhook(ctx, sqlcgen.ResealWebhookParams{ID: row.ID, Resealed: resealed, Former: row.Secret})
		}}
	}
	return list, err
}

func (r *resealer) secrets(ctx context.Context, after string) ([]sealedRow, error) {
	rows, err := r.store.q.SecretsToReseal(ctx, sqlcgen.SecretsToResealParams{After: after, Head: r.head, Most: resealAtOnce})
	list := make([]sealedRow, len(rows))
	for i, row := range rows {
		about := aboutSecret(row.TeamID, row.ID, row.Version)
		list[i] = sealedRow{row.ID, about, row.Sealed, func(ctx context.Context, resealed string) (int64, error) {
			return r.store.q.ResealSecret(ctx, sqlcgen.ResealSecretParams{ID: row.ID, Resealed: resealed, Former: row.Sealed})
		}}
	}
	return list, err
}

func (r *resealer) identityKeys(ctx context.Context, after string) ([]sealedRow, error) {
	rows, err := r.store.q.IdentityKeysToReseal(ctx, sqlcgen.IdentityKeysToResealParams{After: after, Head: r.head, Most: resealAtOnce})
	list := make([]sealedRow, 0, len(rows))
	for _, row := range rows {
		list = append(list, sealedRow{row.ID, aboutIdentityKey(row.ID), row.Sealed, func(ctx context.Context, resealed string) (int64, error) {
			return r.store.q.ResealIdentityKey(ctx, sqlcgen.ResealIdentityKeyParams{ID: row.ID, Resealed: resealed, Former: row.Sealed})
		}})
	}
	return list, err
}
