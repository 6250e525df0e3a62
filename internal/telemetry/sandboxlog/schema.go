package sandboxlog

import (
	"context"
	"database/sql"
	"fmt"
)

// schemaVersion is incremented whenever the tables change, and is part of schema. prepare
// carries over the lines of earlier versions; logs of others are dropped. The triggers count
// what is kept, whichever way lines come and go.
const (
	schemaVersion = 3
	schema        = `
CREATE TABLE lines (
	sandbox TEXT NOT NULL,
	team    TEXT NOT NULL,
	at      INTEGER NOT NULL, -- microseconds since 1970
	level   TEXT NOT NULL,
	message TEXT NOT NULL,
	line    TEXT NOT NULL,
	cost    INTEGER NOT NULL -- bytes, of costOf
);
CREATE INDEX lines_of_sandbox ON lines (sandbox, at);
CREATE INDEX lines_by_age ON lines (at);
CREATE TABLE kept (
	sandbox TEXT PRIMARY KEY,
	team    TEXT NOT NULL,
	lines   INTEGER NOT NULL,
	bytes   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE total (bytes INTEGER NOT NULL);
INSERT INTO total VALUES (0);
CREATE TRIGGER line_in AFTER INSERT ON lines BEGIN
	INSERT INTO kept VALUES (new.sandbox, new.team, 1, new.cost)
		ON CONFLICT (sandbox) DO UPDATE SET lines = lines + 1, bytes = bytes + new.cost;
	UPDATE total SET bytes = bytes + new.cost;
END;
CREATE TRIGGER line_out AFTER DELETE ON lines BEGIN
	UPDATE kept SET lines = lines - 1, bytes = bytes - old.cost WHERE sandbox = old.sandbox;
	DELETE FROM kept WHERE sandbox = old.sandbox AND lines = 0;
	UPDATE total SET bytes = bytes - old.cost;
END;` + spooled
	// spooled makes version 3 of version 2, in which none counts as copied; see spool.go.
	spooled = `
CREATE TABLE copied (
	n     INTEGER NOT NULL, -- the greatest rowid that has been copied
	spool TEXT NOT NULL     -- tells this database from all others, and from an empty one in its place
);
INSERT INTO copied VALUES (0, lower(hex(randomblob(8))));
PRAGMA user_version = 3;`
)

// maxCarried is how many lines of an earlier version are kept, the newest ones: the machine
// waits for this when it starts.
const maxCarried = 50_000

// prepare creates the tables, or looks whether they are what this version expects. After an
// error the database is as before.
func prepare(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	var version int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	switch version {
	case 0:
		_, err = tx.ExecContext(ctx, schema)
	case 1:
		err = carryOver(ctx, tx)
	case 2:
		_, err = tx.ExecContext(ctx, spooled)
	case schemaVersion:
		_, err = tx.ExecContext(ctx, `SELECT sandbox, team, at, level, message, line, cost, n, spool
			FROM lines, copied LIMIT 0`)
	default:
		err = fmt.Errorf("they have version %d", version)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// carryOver makes the present version of version 1, whose lines have no cost and are not counted.
func carryOver(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, `CREATE TEMP TABLE newest AS
SELECT rowid AS id, * FROM lines ORDER BY at DESC, rowid DESC LIMIT ?;
DROP TABLE lines`, maxCarried); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO lines
SELECT sandbox, team, at, level, message, line, octet_length(message) + octet_length(line) + ?
FROM newest ORDER BY at, id; DROP TABLE newest`, rowCost)
	return err
}
