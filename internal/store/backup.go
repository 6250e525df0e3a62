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
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pressly/goose/v3"

	"shoal/internal/shoal"
)

// A backup is lines of JSON, compressed by gzip: a head, then a line for each table and for each of
// its rows, then how many rows there were. It is the same for both engines, so that one can be
// restored into the other; it needs no programs of Postgres' version on this machine; and it is
// restored by the migrations of its time, so a later Shoal can read it.
const (
	backupFormat  = "shoal-backup"
	backupVersion = 1
)

// Backup describes one.
type Backup struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	Schema  int64     `json:"schema"` // the version
	Engine  string    `json:"engine"`
	At      time.Time `json:"at"`
	// Rows are counted at its end.
	Rows int64 `json:"-"`
}

// backupLine is any line but the first.
type backupLine struct {
	Table   string   `json:"table,omitempty"` // begins one
	Columns []string `json:"columns,omitempty"`
	Row     []any    `json:"row,omitempty"`
	Rows    *int64   `json:"rows,omitempty"` // ends the backup
}

// WriteBackup writes all records as they are at one moment. Nobody waits for it meanwhile.
func WriteBackup(ctx context.Context, location string, to io.Writer) (_ Backup, err error) {
	eng, err := openExisting(location)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, eng.db.Close()) }()
	if err := eng.reach(ctx); err != nil {
		return Backup{}, err
	}
	found, err := inspect(ctx, eng)
	if err == nil {
		err = found.Err()
	}
	if err == nil && found.Version == 0 {
		err = shoal.ErrDatabaseMissing.New("The database is empty")
	}
	if err != nil {
		return Backup{}, err
	}
	tables, err := tablesAt(ctx, found.Version)
	if err != nil {
		return Backup{}, err
	}
	tx, err := eng.beginRead(ctx)
	if err != nil {
		return Backup{}, fmt.Errorf("begin to read the database: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	zipped := gzip.NewWriter(to)
	w := backupWriter{tx: tx, lines: json.NewEncoder(zipped), about: Backup{Format: backupFormat, Version: backupVersion,
		Schema: found.Version, Engine: found.Engine, At: time.Now().UTC().Truncate(time.Second)}}
	if err := w.write(ctx, tables); err != nil {
		return Backup{}, err
	}
	return w.about, zipped.Close()
}

// beginRead begins a transaction that sees one moment. SQLite's always do, and let writers go on.
func (eng engine) beginRead(ctx context.Context) (*sql.Tx, error) {
	options := &sql.TxOptions{ReadOnly: true}
	if eng.dialect == goose.DialectPostgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	return eng.db.BeginTx(ctx, options)
}

// table is one of the schema, with its columns and their kinds.
type table struct {
	name           string
	columns, kinds []string
	made           int64 // rows that the migrations make
}

// knownTables are those of versions that were asked for: to find them takes all migrations.
var knownTables sync.Map // int64 → []table, which nobody changes

// tablesAt lists the tables of a schema's version, each after those that it refers to.
func tablesAt(ctx context.Context, version int64) ([]table, error) {
	if known, ok := knownTables.Load(version); ok {
		return known.([]table), nil
	}
	ref, err := newReference()
	if err != nil {
		return nil, err
	}
	defer ref.Close()
	want, err := ref.at(ctx, version)
	if err != nil {
		return nil, err
	}
	names, err := ref.tables(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]table, len(names))
	for i, name := range names {
		list[i] = want.table(name)
		if list[i].made, err = rows(ctx, ref.eng.db, name); err != nil {
			return nil, err
		}
	}
	knownTables.Store(version, list)
	return list, nil
}

// rows counts those of a table.
func rows(ctx context.Context, db *sql.DB, table string) (n int64, err error) {
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil {
		return 0, fmt.Errorf("look into the table %s: %w", table, err)
	}
	return n, nil
}

// table returns the columns of a table, sorted.
func (want schema) table(name string) table {
	t := table{name: name}
	for key := range want {
		if column, ok := strings.CutPrefix(key, "column "+name+"."); ok {
			t.columns = append(t.columns, column)
		}
	}
	slices.Sort(t.columns)
	for _, column := range t.columns {
		t.kinds = append(t.kinds, strings.TrimSuffix(want["column "+name+"."+column], " not null"))
	}
	return t
}

// backupWriter writes one backup.
type backupWriter struct {
	about Backup
	tx    *sql.Tx
	lines *json.Encoder
}

func (w *backupWriter) write(ctx context.Context, tables []table) error {
	w.lines.SetEscapeHTML(false)
	if err := w.lines.Encode(w.about); err != nil {
		return err
	}
	for _, t := range tables {
		if err := w.lines.Encode(backupLine{Table: t.name, Columns: t.columns}); err != nil {
			return err
		}
		if err := w.rows(ctx, t); err != nil {
			return fmt.Errorf("back up the table %s: %w", t.name, err)
		}
	}
	return w.lines.Encode(backupLine{Rows: &w.about.Rows})
}

func (w *backupWriter) rows(ctx context.Context, t table) error {
	rows, err := w.tx.QueryContext(ctx, "SELECT "+t.list()+" FROM "+t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		into, read, err := t.scanners()
		if err != nil {
			return err
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row, err := read()
		if err != nil {
			return err
		}
		if err := w.lines.Encode(backupLine{Row: row}); err != nil {
			return err
		}
		w.about.Rows++
	}
	return rows.Err()
}

// list is the columns in SQL. They are quoted, because one may be named like a word of SQL.
func (t table) list() string { return `"` + strings.Join(t.columns, `", "`) + `"` }

// scanners returns where a row is scanned into, and what reads it from there.
func (t table) scanners() (into []any, read func() ([]any, error), err error) {
	into = make([]any, len(t.kinds))
	for i, kind := range t.kinds {
		switch kind {
		case "text":
			into[i] = new(sql.NullString)
		case "bigint":
			into[i] = new(sql.NullInt64)
		case "boolean":
			into[i] = new(sql.NullBool)
		default:
			return nil, nil, fmt.Errorf("column %s is of the unknown kind %q", t.columns[i], kind)
		}
	}
	return into, func() ([]any, error) {
		row := make([]any, len(into))
		for i, v := range into {
			switch v := v.(type) {
			case *sql.NullString:
				// JSON would silently replace it.
				if v.Valid && !utf8.ValidString(v.String) {
					return nil, fmt.Errorf("column %s has a text that is not UTF-8", t.columns[i])
				}
				row[i] = ifValid(v.Valid, v.String)
			case *sql.NullInt64:
				row[i] = ifValid(v.Valid, v.Int64)
			case *sql.NullBool:
				row[i] = ifValid(v.Valid, v.Bool)
			}
		}
		return row, nil
	}, nil
}

func ifValid(valid bool, v any) any {
	if !valid {
		return nil
	}
	return v
}
