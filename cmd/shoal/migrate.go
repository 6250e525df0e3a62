package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type migrateCmd struct {
	Status migrateStatusCmd `cmd:"" help:"List the steps of the database's schema, and which are done."`
	Up     migrateUpCmd     `cmd:"" help:"Do the steps that are not done, as every start of the api does."`
	Verify migrateVerifyCmd `cmd:"" help:"Compare the schema with what the steps that are done make. Exits with 1 if it differs."`
}

type migrateStatusCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type (
	migrateUpCmd     struct{}
	migrateVerifyCmd struct {
		JSON bool `name:"json" help:"Print JSON."`
	}
)

// listedMigration is a step in JSON.
type listedMigration struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`
	AppliedAt *time.Time `json:"appliedAt,omitempty"`
	Missing   []string   `json:"missing,omitempty"`
}

// listedSchema is a database's schema in JSON.
type listedSchema struct {
	Engine     string            `json:"engine"`
	Version    int64             `json:"version"`
	Newest     int64             `json:"newest"`
	Migrations []listedMigration `json:"migrations,omitempty"`
	Drift      []string          `json:"drift"`
}

func listSchema(found store.Inspection) listedSchema {
	shown := listedSchema{Engine: found.Engine, Version: found.Version, Newest: found.Newest, Drift: found.Drift}
	for _, m := range found.Migrations {
		shown.Migrations = append(shown.Migrations, listedMigration{m.Version, m.Name, ifAny(m.AppliedAt), m.Missing})
	}
	return shown
}

// Run lists the steps. It changes nothing.
func (c *migrateStatusCmd) Run(ctx context.Context, cfg *config.Config) error {
	found, err := store.Inspect(ctx, cfg.DatabaseLocation())
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(listSchema(found))
	}
	rows := make([][]string, len(found.Migrations))
	for i, m := range found.Migrations {
		state := "pending"
		switch {
		case len(m.Missing) > 0:
			state = "marked as done, but lacks " + strings.Join(m.Missing, ", ")
		case !m.AppliedAt.IsZero():
			state = "done " + day(m.AppliedAt)
		}
		rows[i] = []string{m.Name, state}
	}
	if err := printTable("MIGRATION\tSTATE", rows); err != nil {
		return err
	}
	printDrift(found)
	return nil
}

func printDrift(found store.Inspection) {
	for _, d := range found.Drift {
		fmt.Printf("drift: %s\n", d)
	}
}

// Run migrates. Where the schema is not what it is held for, nothing is touched.
func (migrateUpCmd) Run(ctx context.Context, cfg *config.Config) error {
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	return st.Close()
}

// Run compares the schema. It changes nothing.
func (c *migrateVerifyCmd) Run(ctx context.Context, cfg *config.Config) error {
	found, err := store.Inspect(ctx, cfg.DatabaseLocation())
	if err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(listSchema(found)); err != nil {
			return err
		}
		return found.Err()
	}
	if err := found.Err(); err != nil {
		return err
	}
	fmt.Printf("The %s database has the schema of version %d of %d.\n", found.Engine, found.Version, found.Newest)
	return nil
}

type backupCmd struct {
	File string `arg:"" placeholder:"FILE" help:"File to write, which must not exist yet; - is the standard output."`
}

// Run writes a backup. The file is only there when it is whole.
func (c *backupCmd) Run(ctx context.Context, cfg *config.Config) error {
	if c.File == "-" {
		_, err := store.WriteBackup(ctx, cfg.DatabaseLocation(), os.Stdout)
		return err
	}
	if _, err := os.Stat(c.File); err == nil {
		return shoal.ErrBackupExists.New("%s exists already", c.File)
	}
	// It is as secret as the database.
	part, err := os.CreateTemp(filepath.Dir(c.File), filepath.Base(c.File)+".part-")
	if err != nil {
		return fmt.Errorf("make the backup's file: %w", err)
	}
	defer os.Remove(part.Name())
	about, err := store.WriteBackup(ctx, cfg.DatabaseLocation(), part)
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return err
	}
	if err := os.Link(part.Name(), c.File); err != nil {
		return fmt.Errorf("name the backup's file: %w", err)
	}
	fmt.Printf("%d rows of the %s database (schema version %d) are in %s.\n"+
		"Secrets and keys in it are sealed: keep seal-secret, or secrets/seal-secret of the data directory, too, as it is now.\n",
		about.Rows, about.Engine, about.Schema, c.File)
	return nil
}

type restoreCmd struct {
	File string `arg:"" placeholder:"FILE" help:"File that shoal backup wrote; - is the standard input."`
}

// Run fills the database of the settings, which must be empty or not exist, with a backup.
func (c *restoreCmd) Run(ctx context.Context, cfg *config.Config) error {
	var from io.Reader = os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return shoal.ErrBackup.Wrap(err, "The backup cannot be opened")
		}
		defer f.Close()
		from = f
	}
	if err := controlplane.MakeDatabaseDirectory(cfg); err != nil {
		return err
	}
	about, err := store.Restore(ctx, cfg.DatabaseLocation(), from)
	if err != nil {
		return err
	}
	fmt.Printf("%d rows of %s are restored.\n", about.Rows, about.At.Format(time.RFC3339))
	return nil
}
