package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"shoal/internal/shoal"
)

// Migration is one step of the schema, and whether the database has it.
type Migration struct {
	Version   int64
	Name      string
	AppliedAt time.Time // zero if the database does not say that it is done
	// Missing is what it makes and the database lacks although the migration is marked as done.
	Missing []string
}

// Inspection is what a database says of its schema, and what the schema is.
type Inspection struct {
	Engine          string
	Version, Newest int64 // of the schema; 0 is an empty database
	Migrations      []Migration
	// Drift is how the schema differs from that of its version.
	Drift []string
}

// Err returns what keeps Shoal from using the database, but for migrations that are still to be
// done.
func (i Inspection) Err() error {
	if err := knownVersion(i.Version, i.Newest); err != nil {
		return err
	}
	if len(i.Drift) > 0 {
		return drifted(i.Engine, i.Drift)
	}
	return nil
}

// Inspect looks at a database and changes nothing.
func Inspect(ctx context.Context, location string) (_ Inspection, err error) {
	eng, err := openExisting(location)
	if err != nil {
		return Inspection{}, err
	}
	defer func() { err = errors.Join(err, eng.db.Close()) }()
	if err := eng.reach(ctx); err != nil {
		return Inspection{}, err
	}
	return inspect(ctx, eng)
}

// openExisting refuses to make a database that is only to be looked at.
func openExisting(location string) (engine, error) {
	if !strings.Contains(location, "://") {
		if _, err := os.Stat(location); err != nil {
			return engine{}, shoal.ErrDatabaseMissing.Wrap(err, "There is no database")
		}
	}
	return openEngine(location)
}

func inspect(ctx context.Context, eng engine) (Inspection, error) {
	provider, err := newProvider(eng)
	if err != nil {
		return Inspection{}, err
	}
	applied, have, err := look(ctx, eng)
	if err != nil {
		return Inspection{}, err
	}
	found := Inspection{Engine: eng.name, Newest: newestOf(provider)}
	for version := range applied {
		found.Version = max(found.Version, version)
	}
	ref, err := newReference()
	if err != nil {
		return Inspection{}, err
	}
	defer ref.Close()
	for _, source := range provider.ListSources() {
		m := Migration{Version: source.Version, Name: strings.TrimSuffix(filepath.Base(source.Path), ".sql"),
			AppliedAt: applied[source.Version]}
		if !m.AppliedAt.IsZero() {
			if m.Missing, err = ref.missing(ctx, m.Version, have); err != nil {
				return Inspection{}, err
			}
		}
		found.Migrations = append(found.Migrations, m)
	}
	want, err := ref.at(ctx, min(found.Version, found.Newest))
	if err != nil {
		return Inspection{}, err
	}
	found.Drift = want.differences(have)
	for _, m := range found.Migrations {
		if m.Version < found.Version && m.AppliedAt.IsZero() {
			found.Drift = append(found.Drift, fmt.Sprintf("migration %s is not done, and later ones are", m.Name))
		}
	}
	return found, nil
}

// look reads which migrations are marked as done, and the schema that they should have made. It looks
// again if others were done meanwhile, by another process that starts.
func look(ctx context.Context, eng engine) (map[int64]time.Time, schema, error) {
	applied, err := appliedMigrations(ctx, eng)
	if err != nil {
		return nil, nil, err
	}
	for {
		have, err := describe(ctx, eng)
		if err != nil {
			return nil, nil, fmt.Errorf("read the %s schema: %w", eng.name, err)
		}
		after, err := appliedMigrations(ctx, eng)
		if err != nil {
			return nil, nil, err
		}
		if maps.EqualFunc(applied, after, time.Time.Equal) {
			return applied, have, nil
		}
		applied = after
	}
}

// appliedMigrations reads when each migration was done, of those that are marked as done.
func appliedMigrations(ctx context.Context, eng engine) (map[int64]time.Time, error) {
	var marked int
	if err := eng.db.QueryRowContext(ctx, eng.marks).Scan(&marked); err != nil {
		return nil, fmt.Errorf("look for the marks of migrations: %w", err)
	}
	applied := map[int64]time.Time{}
	if marked == 0 {
		return applied, nil
	}
	rows, err := eng.db.QueryContext(ctx, "SELECT version_id, is_applied, tstamp FROM goose_db_version ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read the marks of migrations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var version int64
		var done bool
		var at time.Time
		if err := rows.Scan(&version, &done, &at); err != nil {
			return nil, fmt.Errorf("read the marks of migrations: %w", err)
		}
		delete(applied, version) // a later mark of a version counts
		if done && version > 0 {
			applied[version] = at
		}
	}
	return applied, rows.Err()
}

// reference is a database of its own, in memory, in which migrations show what they make. What
// engines call types is the same in all, so it stands for Postgres too.
type reference struct {
	eng      engine
	provider *goose.Provider
	before   schema // of the version that was last asked for
	version  int64
}

func newReference() (*reference, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, fmt.Errorf("open a database in memory: %w", err)
	}
	db.SetMaxOpenConns(1) // each connection has its own
	eng := engine{name: "reference", db: db, dialect: goose.DialectSQLite3, columns: sqliteColumns, indexes: sqliteIndexes}
	provider, err := newProvider(eng)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &reference{eng: eng, provider: provider, before: schema{}}, nil
}

// Close forgets the database.
func (r *reference) Close() { _ = r.eng.db.Close() }

// at returns the schema of a version, which is none before the last one.
func (r *reference) at(ctx context.Context, version int64) (schema, error) {
	if version > r.version {
		if _, err := r.provider.UpTo(ctx, version); err != nil {
			return nil, fmt.Errorf("find out what migration %d makes: %w", version, err)
		}
		var err error
		if r.before, err = describe(ctx, r.eng); err != nil {
			return nil, err
		}
		r.version = version
	}
	return r.before, nil
}

// missing lists what a migration makes and a schema lacks. A later migration may have removed it,
// which is no fault, so only what the newest one has as well counts.
func (r *reference) missing(ctx context.Context, version int64, have schema) ([]string, error) {
	before := r.before
	after, err := r.at(ctx, version)
	if err != nil {
		return nil, err
	}
	final := parseSchema(expectedSchema)
	var list []string
	for key := range after {
		_, old := before[key]
		_, there := have[key]
		_, wanted := final[key]
		if !old && !there && wanted {
			list = append(list, key)
		}
	}
	slices.Sort(list)
	return list, nil
}

// tables lists the tables of the schema, each after those that it refers to.
func (r *reference) tables(ctx context.Context) ([]string, error) {
	rows, err := r.eng.db.QueryContext(ctx, `SELECT m.name, coalesce(f."table", '')
		FROM sqlite_master m LEFT JOIN pragma_foreign_key_list(m.name) f
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version' ORDER BY m.name`)
	if err != nil {
		return nil, fmt.Errorf("read the references of tables: %w", err)
	}
	defer rows.Close()
	refers := map[string][]string{}
	var names []string
	for rows.Next() {
		var name, to string
		if err := rows.Scan(&name, &to); err != nil {
			return nil, err
		}
		if _, known := refers[name]; !known {
			names = append(names, name)
		}
		refers[name] = append(refers[name], to)
	}
	var ordered []string
	var visit func(string)
	visit = func(name string) {
		if name == "" || slices.Contains(ordered, name) {
			return
		}
		for _, to := range refers[name] {
			if to != name {
				visit(to)
			}
		}
		ordered = append(ordered, name)
	}
	for _, name := range names {
		visit(name)
	}
	return ordered, rows.Err()
}
