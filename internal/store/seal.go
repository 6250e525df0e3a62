package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"shoal/internal/keyring"
	"shoal/internal/shoal"
	"shoal/internal/store/sqlcgen"
)

// Secrets that Shoal has to know, and not only to compare, are sealed (see package keyring). The
// database says by which key: so of several processes none seals by one that others do not have.

// SealBy has the store seal values with a ring from now on, and read what its keys have sealed. It
// must be called before the store is used.
func (s *Store) SealBy(ring *keyring.Ring) { s.ring = ring }

// errSealMoved means that the key was changed between sealing a value and storing it.
var errSealMoved = errors.New("another key seals by now")

// errSealed words for a tenant that something cannot be opened. What the program of an operator
// failed by stays.
func errSealed(err error) error {
	if shoal.ErrSealCommand.Matches(err) {
		return err
	}
	return shoal.ErrSealed.Wrap(err, "A sealed value cannot be read or kept")
}

// sealing seals a value and has it stored in a transaction, while nobody changes the key.
func (s *Store) sealing(ctx context.Context, about, value string, keep func(q *sqlcgen.Queries, sealed string) error) error {
	for tries := 0; ; tries++ {
		id, err := s.sealKey(ctx)
		if err != nil {
			return err
		}
		sealed, err := s.ring.Seal(ctx, id, about, []byte(value))
		if err != nil {
			return errSealed(err)
		}
		err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
			if err := holdSeal(ctx, q, id); err != nil {
				return err
			}
			return keep(q, sealed)
		})
		if !errors.Is(err, errSealMoved) || tries == 2 {
			return err
		}
	}
}

// holdSeal keeps others from changing the key until the transaction ends. errSealMoved if somebody has.
func holdSeal(ctx context.Context, q *sqlcgen.Queries, id string) error {
	now, err := q.HoldSeal(ctx, id)
	if err != nil {
		return lookup(err, "find which key seals")
	}
	if now != id {
		return errSealMoved
	}
	return nil
}

// sealKey is the ID of the key that seals: the one that the database names, or the ring's first while
// nothing is sealed. ErrSealed if the ring does not have it.
func (s *Store) sealKey(ctx context.Context) (string, error) {
	if s.ring == nil {
		return "", errSealed(errors.New("no key was loaded"))
	}
	if _, err := s.Installation(ctx); err != nil {
		return "", err
	}
	id, err := s.q.SealKey(ctx)
	switch {
	case err != nil:
		return "", lookup(err, "find which key seals")
	case id == "":
		return s.ring.First(), nil
	case s.ring.Has(id):
		return id, nil
	}
	return s.succeedLostKey(ctx)
}

// succeedLostKey takes the ring's first key where another sealed until now, if nothing is left that
// this ring cannot open: what a lost key has sealed was removed.
func (s *Store) succeedLostKey(ctx context.Context) (id string, err error) {
	err = s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := s.checkHeads(ctx, q); err != nil {
			return err
		}
		id = s.ring.First()
		n, err := q.SetSealKey(ctx, id)
		return changed(n, err, ErrNotFound, "change the key that seals")
	})
	return id, err
}

// checkHeads is ErrSealed if there is a secret that no key of the ring has sealed. Keys of identities
// do not count: they can be made anew.
func (s *Store) checkHeads(ctx context.Context, q *sqlcgen.Queries) error {
	heads, err := q.SealHeads(ctx)
	if err != nil {
		return fmt.Errorf("look for what other keys have sealed: %w", err)
	}
	for _, head := range heads {
		id, ok := strings.CutPrefix(head, keyring.Head(""))
		if ok && !s.ring.Has(id) {
			return errSealed(fmt.Errorf("key %s: %w", id, keyring.ErrNoKey))
		}
	}
	return nil
}

// SealAll seals the secrets that are in the clear or sealed without a data key, as earlier versions
// left them. ErrSealed from the catalogue if there are some that another key has sealed; nothing is
// changed then.
func (s *Store) SealAll(ctx context.Context) error {
	id, err := s.sealKey(ctx)
	if err != nil {
		return err
	}
	if err := s.checkHeads(ctx, s.q); err != nil {
		return err
	}
	rows, err := s.q.WebhooksToReseal(ctx, sqlcgen.WebhooksToResealParams{Head: keyring.Head(id), Most: maxRows})
	if err != nil {
		return fmt.Errorf("list the secrets of webhooks: %w", err)
	}
	resealed := make([]string, len(rows))
	for i, row := range rows {
		if isSealed(row.Secret) && !keyring.OfFirstVersion(row.Secret) {
			continue // a rotation goes on with it
		}
		value, err := s.unsealed(ctx, row.ID, row.Secret)
		if err != nil {
			return err
		}
		if resealed[i], err = s.ring.Seal(ctx, id, row.ID, []byte(value)); err != nil {
			return errSealed(err)
		}
	}
	return s.inTx(ctx, func(q *sqlcgen.Queries) error {
		if err := holdSeal(ctx, q, id); err != nil {
			return err
		}
		for i, row := range rows {
			if resealed[i] == "" {
				continue
			}
			_, err := q.ResealWebhook(ctx, sqlcgen.ResealWebhookParams{ID: row.ID, Resealed: resealed[i], Former: row.Secret})
			if err != nil {
				return fmt.Errorf("seal the secret of a webhook: %w", err)
			}
		}
		return nil
	})
}

// maxRows is more than any table has.
const maxRows = 1<<31 - 1

// isSealed tells what is sealed from a webhook's secret in the clear, which can be no longer than that.
func isSealed(secret string) bool {
	return len(secret) > shoal.MaxWebhookSecret && strings.HasPrefix(secret, "sealed:")
}

// unsealed is a secret of the database as it was given.
func (s *Store) unsealed(ctx context.Context, about, secret string) (string, error) {
	if !isSealed(secret) {
		return secret, nil
	}
	if s.ring == nil {
		return "", errSealed(errors.New("no key was loaded"))
	}
	value, err := s.ring.Open(ctx, about, secret)
	if err != nil {
		return "", errSealed(err)
	}
	return string(value), nil
}

// SealState is by which keys values are sealed.
type SealState struct {
	Key   string   // the ID of the one that seals; "" if nothing is sealed yet
	Heads []string // IDs of those that have sealed what there is
}

// AskSeals looks which keys a database needs, and changes nothing. One of an older schema needs none
// that can be told.
func AskSeals(ctx context.Context, location string) (state SealState, err error) {
	eng, err := openExisting(location)
	if err != nil {
		return SealState{}, err
	}
	defer func() { err = errors.Join(err, eng.db.Close()) }()
	q := sqlcgen.New(eng.db)
	if state.Key, err = q.SealKey(ctx); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return SealState{}, lookup(err, "find which key seals")
	}
	heads, err := q.SealHeads(ctx)
	if err != nil {
		return SealState{}, fmt.Errorf("look which keys have sealed: %w", err)
	}
	for _, head := range heads {
		if id, ok := strings.CutPrefix(head, keyring.Head("")); ok && !slices.Contains(state.Heads, id) {
			state.Heads = append(state.Heads, id)
		}
	}
	return state, nil
}
