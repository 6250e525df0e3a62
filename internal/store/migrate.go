package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"shoal/internal/shoal"
)

//go:embed migrations/*.sql
var migrations embed.FS

// newProvider knows the migrations. On Postgres a session lock keeps processes from migrating at
// the same time; SQLite has only one writer anyway.
func newProvider(eng engine) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if eng.dialect == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("prepare the migration lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(eng.dialect, eng.db, dir, options...)
	if err != nil {
		return nil, fmt.Errorf("prepare the migrations: %w", err)
	}
	return provider, nil
}

// migrate brings the schema up to date.
func migrate(ctx context.Context, eng engine) error {
	provider, err := newProvider(eng)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the %s database: %w", eng.name, err)
	}
	return refuseNewer(ctx, provider)
}

// refuseNewer keeps this version from writing to a schema of a later version.
func refuseNewer(ctx context.Context, provider *goose.Provider) error {
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	return knownVersion(have, newestOf(provider))
}

func knownVersion(have, newest int64) error {
	if have > newest {
		return shoal.ErrDatabaseNewer.New("The database has schema version %d, and this shoal knows up to %d", have, newest)
	}
	return nil
}

func newestOf(provider *goose.Provider) int64 {
	sources := provider.ListSources()
	return sources[len(sources)-1].Version
}
