package store

import (
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"shoal/internal/shoal"
)

// Restore fills an empty database with a backup's records, all or none, and migrates it to this
// version. The schema may be there already, without records.
func Restore(ctx context.Context, location string, from io.Reader) (_ Backup, err error) {
	unzipped, err := gzip.NewReader(from)
	if err != nil {
		return Backup{}, shoal.ErrBackup.Wrap(err, "This is no backup")
	}
	r := backupReader{lines: json.NewDecoder(unzipped)}
	r.lines.UseNumber()
	if err := r.head(); err != nil {
		return Backup{}, err
	}
	eng, err := openEngine(location)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, eng.db.Close()) }()
	if err := prepareRestore(ctx, eng, r.about.Schema); err != nil {
		return Backup{}, err
	}
	tables, err := tablesAt(ctx, r.about.Schema)
	if err != nil {
		return Backup{}, err
	}
	tx, err := eng.db.BeginTx(ctx, nil)
	if err != nil {
		return Backup{}, fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := r.fill(ctx, tx, tables); err != nil {
		return Backup{}, err
	}
	if err := tx.Commit(); err != nil {
		return Backup{}, fmt.Errorf("commit the restored records: %w", err)
	}
	if err := migrate(ctx, eng); err != nil {
		return Backup{}, err
	}
	return r.about, verify(ctx, eng)
}

// prepareRestore makes the schema of a version, unless there are records besides those that
// migrations make, or a later schema.
func prepareRestore(ctx context.Context, eng engine, version int64) error {
	if err := eng.reach(ctx); err != nil {
		return err
	}
	found, err := inspect(ctx, eng)
	if err == nil {
		err = found.Err()
	}
	switch {
	case err != nil:
		return err
	case version > found.Newest:
		return shoal.ErrBackupNewer.New("The backup has schema version %d, and this shoal knows up to %d", version, found.Newest)
	case found.Version > version:
		return shoal.ErrDatabaseNotEmpty.New("The database has schema version %d already, and the backup %d", found.Version, version)
	}
	provider, err := newProvider(eng)
	if err != nil {
		return err
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return fmt.Errorf("make the schema of the backup: %w", err)
	}
	tables, err := tablesAt(ctx, version)
	if err != nil {
		return err
	}
	for _, t := range tables {
		n, err := rows(ctx, eng.db, t.name)
		if err != nil {
			return err
		}
		if n > t.made {
			return shoal.ErrDatabaseNotEmpty.New("The database has records in its table %s", t.name)
		}
	}
	return nil
}

// backupReader reads one backup.
type backupReader struct {
	about Backup
	lines *json.Decoder
}

func (r *backupReader) head() error {
	if err := r.lines.Decode(&r.about); err != nil || r.about.Format != backupFormat {
		return shoal.ErrBackup.Wrap(err, "This is no backup of Shoal")
	}
	if r.about.Version != backupVersion {
		return shoal.ErrBackupNewer.New("The backup has the form %d, and this shoal reads %d", r.about.Version, backupVersion)
	}
	return nil
}

// fill inserts the rows, and makes sure that the backup is whole.
func (r *backupReader) fill(ctx context.Context, tx *sql.Tx, tables []table) error {
	for _, t := range tables {
		if t.made == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+t.name); err != nil {
			return fmt.Errorf("empty the table %s: %w", t.name, err)
		}
	}
	var insert *sql.Stmt
	var into table
	for {
		var line backupLine
		if err := r.lines.Decode(&line); err != nil {
			return shoal.ErrBackup.Wrap(err, "The backup is cut off or damaged after %d rows", r.about.Rows)
		}
		switch {
		case line.Rows != nil:
			if *line.Rows != r.about.Rows {
				return shoal.ErrBackup.New("The backup has %d rows, and says that it has %d", r.about.Rows, *line.Rows)
			}
			// The rest is gzip's checksum.
			if _, err := r.lines.Token(); !errors.Is(err, io.EOF) {
				return shoal.ErrBackup.Wrap(err, "The backup does not end where it says")
			}
			return nil
		case line.Table != "":
			i := slices.IndexFunc(tables, func(t table) bool { return t.name == line.Table })
			if i < 0 || !slices.Equal(tables[i].columns, line.Columns) {
				return shoal.ErrBackup.New("The backup's table %.64q is not that of its schema version", line.Table)
			}
			into = tables[i]
			var err error
			if insert, err = tx.PrepareContext(ctx, into.insert()); err != nil {
				return fmt.Errorf("prepare the table %s: %w", into.name, err)
			}
			defer insert.Close() // as many as there are tables
		case insert == nil:
			return shoal.ErrBackup.New("The backup has a row of no table")
		default:
			row, err := into.values(line.Row)
			if err == nil {
				_, err = insert.ExecContext(ctx, row...)
			}
			if err != nil {
				return fmt.Errorf("restore row %d, of the table %s: %w", r.about.Rows+1, into.name, err)
			}
			r.about.Rows++
		}
	}
}

func (t table) insert() string {
	marks := make([]string, len(t.columns))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + t.name + " (" + t.list() + ") VALUES (" + strings.Join(marks, ", ") + ")"
}

// values turns JSON into what the columns hold.
func (t table) values(row []any) ([]any, error) {
	if len(row) != len(t.columns) {
		return nil, fmt.Errorf("it has %d values, not %d", len(row), len(t.columns))
	}
	out := make([]any, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case nil:
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", t.columns[i], err)
			}
			out[i] = n
		case string, bool:
			out[i] = v
		default:
			return nil, fmt.Errorf("column %s has a value of no known kind", t.columns[i])
		}
	}
	return out, nil
}
