package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
	"shoal/internal/shoal"
	"shoal/internal/sqlitefile"
)

// engine is SQLite or Postgres, with what the portable queries do not cover: opening
// the database and reading its system catalog.
type engine struct {
	name    string
	db      *sql.DB
	dialect goose.Dialect
	columns func(context.Context, *sql.DB) ([]column, error)
	indexes func(context.Context, *sql.DB) ([]index, error)
	// marks counts the table in which it is marked which migrations are done: 1 or 0.
	marks string
	// about asks the server about itself; "" if there is none.
	about string
	// directory is where the file of SQLite is; "" if there is a server.
	directory string
}

// turn waits until no other process prepares the same file, and keeps others from it until the caller
// unlocks. It takes their directory, because SQLite's own locks would go with a descriptor of the file.
// A server has goose's lock.
func (eng engine) turn() (unlock func(), err error) {
	if eng.directory == "" {
		return func() {}, nil
	}
	d, err := os.Open(eng.directory)
	if err != nil {
		return nil, fmt.Errorf("open the database's directory: %w", err)
	}
	if err := atomicfile.Flock(d, unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the database's directory: %w", err), d.Close())
	}
	return func() { _ = d.Close() }, nil // which unlocks it
}

// reach returns an error unless the database answers.
func (eng engine) reach(ctx context.Context) error {
	if err := eng.db.PingContext(ctx); err != nil {
		return shoal.ErrDatabaseUnreachable.Wrap(err, "The %s database cannot be reached", eng.name)
	}
	return nil
}

func openEngine(location string) (engine, error) {
	if strings.HasPrefix(location, "postgres://") || strings.HasPrefix(location, "postgresql://") {
		return openPostgres(location)
	}
	if scheme, _, ok := strings.Cut(location, "://"); ok {
		return engine{}, fmt.Errorf(
			"database scheme %q is not known; give a file path or a postgres:// URL",
			scheme,
		)
	}
	return openSQLite(location)
}

func openPostgres(location string) (engine, error) {
	connector, err := connectPostgres(location)
	if err != nil {
		return engine{}, fmt.Errorf("open Postgres: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(Pool)
	db.SetMaxIdleConns(4)
	return engine{name: "Postgres", db: db, dialect: goose.DialectPostgres,
		columns: postgresColumns, indexes: postgresIndexes, about: aboutPostgres, marks: `
			SELECT count(*) FROM information_schema.tables
			WHERE table_schema = current_schema() AND table_name = 'goose_db_version'`}, nil
}

func openSQLite(path string) (engine, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return engine{}, fmt.Errorf("make the database's directory: %w", err)
	}
	db, err := sqlitefile.Open(path, sqlitefile.Durable, 10_000, 8, "foreign_keys(ON)")
	if err != nil {
		return engine{}, err
	}
	return engine{name: "SQLite", db: db, dialect: goose.DialectSQLite3, directory: filepath.Dir(path),
		columns: sqliteColumns, indexes: sqliteIndexes,
		marks: "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'"}, nil
}
