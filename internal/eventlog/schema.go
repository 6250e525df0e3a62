package eventlog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
)

// schemaVersion is incremented whenever the tables change, and is part of schema.
const (
	schemaVersion = 1
	schema        = `
CREATE TABLE log (id TEXT NOT NULL); -- one row: which log this is
CREATE TABLE events (
	position INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
	id       TEXT NOT NULL UNIQUE,
	team     TEXT NOT NULL,
	bytes    INTEGER NOT NULL,
	event    TEXT NOT NULL -- JSON
);
CREATE INDEX events_of_team ON events (team, position);
-- The last event of each sandbox that has not ended.
CREATE TABLE living (
	sandbox TEXT PRIMARY KEY,
	event   TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;`
)

// prepare creates the tables, or looks whether they are what this version expects.
func prepare(ctx context.Context, db *sql.DB) (id string, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	var version int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return "", err
	}
	switch version {
	case 0:
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return "", err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO log VALUES (?)`, uuid.NewString()); err != nil {
			return "", err
		}
	case schemaVersion:
	default:
		return "", fmt.Errorf("it has version %d", version)
	}
	if err := tx.QueryRowContext(ctx, `SELECT id FROM log`).Scan(&id); err != nil {
		return "", err
	}
	return id, tx.Commit()
}
