// Package store keeps the durable records: teams, API keys, templates and
// builds. One set of queries runs on SQLite and on Postgres; sqlcgen is
// generated from queries/ and migrations/.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"shoal/internal/keyring"
	"shoal/internal/store/sqlcgen"
)

// ErrNotFound means that no record has the given key.
var ErrNotFound = errors.New("no such record")

// ErrExists means that a record with the same unique key already exists.
var ErrExists = errors.New("the record exists already")

// Store is a database whose schema has been verified. It is safe for concurrent use.
type Store struct {
	db *sql.DB
	q  *sqlcgen.Queries
	// maxEventBytes is MaxEventBytes; tests take less.
	maxEventBytes int64
	ring          *keyring.Ring // nil: secrets of webhooks are in the clear, and there are no others
}

// Open opens or creates the database, migrates it and verifies its schema. The location
// is a postgres:// URL or the path of an SQLite file.
func Open(ctx context.Context, location string) (*Store, error) {
	eng, err := openEngine(location)
	if err != nil {
		return nil, err
	}
	if err := prepare(ctx, eng); err != nil {
		return nil, errors.Join(err, eng.db.Close())
	}
	return &Store{db: eng.db, q: sqlcgen.New(eng.db), maxEventBytes: MaxEventBytes}, nil
}

func prepare(ctx context.Context, eng engine) error {
	if err := eng.reach(ctx); err != nil {
		return err
	}
	unlock, err := eng.turn()
	if err != nil {
		return err
	}
	defer unlock()
	if err := refuseDrift(ctx, eng); err != nil {
		return err
	}
	if err := migrate(ctx, eng); err != nil {
		return err
	}
	return verify(ctx, eng)
}

// refuseDrift looks at a database that is about to be migrated: a migration of a schema that is not
// what it is held for could fail half-way.
func refuseDrift(ctx context.Context, eng engine) error {
	applied, err := appliedMigrations(ctx, eng)
	if err != nil || len(applied) == 0 {
		return err
	}
	if provider, err := newProvider(eng); err != nil || applied[newestOf(provider)] != (time.Time{}) {
		return err // verify will look
	}
	found, err := inspect(ctx, eng)
	if err != nil {
		return err
	}
	return found.Err()
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.PingContext(ctx) }

// inTx runs fn in one transaction and rolls it back if fn fails.
func (s *Store) inTx(ctx context.Context, fn func(*sqlcgen.Queries) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if err := fn(s.q.WithTx(tx)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit a transaction: %w", err)
	}
	return nil
}

// lookup adds to an error which query failed, and turns "no rows" into ErrNotFound.
func lookup(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// changed checks the row count of an INSERT … ON CONFLICT DO NOTHING, an UPDATE or a
// DELETE. It returns the error none if no row was affected.
func changed(rows int64, err error, none error, what string) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if rows == 0 {
		return fmt.Errorf("%s: %w", what, none)
	}
	return nil
}

// micros and fromMicros convert between times and microseconds since 1970. The zero time
// is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
