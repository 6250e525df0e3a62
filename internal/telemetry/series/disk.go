package series

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/sqlitefile"
)

// The database is a file of the machine's own rather than the installation's store: the store
// waits for the disk with every write, may be far away, and need not hold what may be lost.

// schemaVersion is incremented whenever the tables change, and is part of schema. prepare carries
// over what version 1 has; samples of other versions are dropped. The triggers count what is kept,
// whichever way blocks come and go.
const schema = `
CREATE TABLE blocks (
	sandbox TEXT NOT NULL,
	at      INTEGER NOT NULL, -- of the first sample, milliseconds since 1970
	until   INTEGER NOT NULL, -- of the last
	samples BLOB NOT NULL,
	n       INTEGER NOT NULL DEFAULT 0, -- ascending, in the order of the writes
	PRIMARY KEY (sandbox, at)
) WITHOUT ROWID;
CREATE INDEX blocks_by_age ON blocks (until);
CREATE TABLE kept (
	sandbox TEXT PRIMARY KEY,
	team    TEXT NOT NULL,
	blocks  INTEGER NOT NULL,
	bytes   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE total (bytes INTEGER NOT NULL);
INSERT INTO total VALUES (0);
CREATE TRIGGER block_in AFTER INSERT ON blocks BEGIN
	UPDATE kept SET blocks = blocks + 1, bytes = bytes + length(new.samples) + 160 WHERE sandbox = new.sandbox;
	UPDATE total SET bytes = bytes + length(new.samples) + 160;
END;
CREATE TRIGGER block_out AFTER DELETE ON blocks BEGIN
	UPDATE kept SET blocks = blocks - 1, bytes = bytes - length(old.samples) - 160 WHERE sandbox = old.sandbox;
	DELETE FROM kept WHERE sandbox = old.sandbox AND blocks = 0;
	UPDATE total SET bytes = bytes - length(old.samples) - 160;
END;
` + ordered

// ordered makes version 2 of version 1, whose blocks have no order; none counts as copied.
const ordered = `
CREATE INDEX blocks_in_order ON blocks (n);
CREATE TABLE copied (n INTEGER NOT NULL); -- the greatest n that has been copied; see spool.go
INSERT INTO copied VALUES (0);
PRAGMA user_version = 2;`

const carryOver = `
ALTER TABLE blocks ADD COLUMN n INTEGER NOT NULL DEFAULT 0;
UPDATE blocks SET n = list.place FROM
	(SELECT sandbox, at, row_number() OVER (ORDER BY until, sandbox) AS place FROM blocks) AS list
WHERE list.sandbox = blocks.sandbox AND list.at = blocks.at;` + ordered

const schemaVersion = 2

// maxBytes bounds what is kept of all sandboxes, some 160 bytes a block besides its samples.
const maxBytes = 1 << 30

// Disk keeps batches in a file. It is safe for concurrent use.
type Disk struct {
	db    *sql.DB
	bound int64 // maxBytes
}

var _ Keeper = (*Disk)(nil)

// OpenDisk opens or creates the file.
func OpenDisk(ctx context.Context, path string, log *slog.Logger) (*Disk, error) {
	d, err := openDisk(ctx, path)
	if err == nil {
		return d, nil
	}
	log.Warn("cannot open the database of what sandboxes use; starting with an empty one",
		"file", path, "error", err)
	if err := sqlitefile.Remove(path); err != nil {
		return nil, fmt.Errorf("remove the unreadable samples: %w", err)
	}
	return openDisk(ctx, path)
}

func openDisk(ctx context.Context, path string) (*Disk, error) {
	db, err := sqlitefile.Open(path, sqlitefile.Volatile, 5_000, 2) // one writes while another reads
	if err != nil {
		return nil, fmt.Errorf("open the sandboxes' samples: %w", err)
	}
	if err := prepare(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open the sandboxes' samples: %w", err), db.Close())
	}
	return &Disk{db: db, bound: maxBytes}, nil
}

func prepare(ctx context.Context, db *sql.DB) error {
	var version int
	if err := db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	statements, err := "", error(nil)
	switch version {
	case 0:
		statements = schema
	case 1:
		statements = carryOver
	case schemaVersion:
		_, err = db.ExecContext(ctx, `SELECT at, until, samples, blocks.n, team, kept.blocks, kept.bytes, total.bytes,
			copied.n FROM blocks, kept, total, copied LIMIT 0`)
	default:
		err = fmt.Errorf("they have version %d", version)
	}
	if err != nil || statements == "" {
		return err
	}
	return inTx(ctx, db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statements)
		return err
	})
}

func inTx(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Close implements Keeper.
func (d *Disk) Close() error { return d.db.Close() }

// Append implements Keeper.
func (d *Disk) Append(ctx context.Context, batches []Batch) error {
	return inTx(ctx, d.db, func(tx *sql.Tx) error {
		for _, b := range batches {
			if len(b.Samples) == 0 {
				continue
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO kept VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING`,
				b.SandboxID, b.TeamID); err != nil {
				return err
			}
			first, last := b.Samples[0].Time, b.Samples[len(b.Samples)-1].Time
			if _, err := tx.ExecContext(ctx, `INSERT INTO blocks SELECT ?, ?, ?, ?,
				1 + max(copied.n, coalesce((SELECT max(n) FROM blocks), 0)) FROM copied WHERE true ON CONFLICT DO NOTHING`,
				b.SandboxID, first.UnixMilli(), last.UnixMilli(), encode(b.Samples)); err != nil {
				return err
			}
		}
		return d.hold(ctx, tx)
	})
}

// hold removes what exceeds the bound: the older half of the largest sandbox of the team that
// has most, until there is a sixteenth to spare.
func (d *Disk) hold(ctx context.Context, tx *sql.Tx) error {
	var total int64
	if err := tx.QueryRowContext(ctx, `SELECT bytes FROM total`).Scan(&total); err != nil || total <= d.bound {
		return err
	}
	for {
		var sandboxID string
		var blocks int64
		err := tx.QueryRowContext(ctx, `SELECT sandbox, blocks FROM kept, total
WHERE total.bytes > ? AND team = (SELECT team FROM kept GROUP BY team ORDER BY sum(bytes) DESC LIMIT 1)
ORDER BY kept.bytes DESC LIMIT 1`, d.bound-d.bound/16).Scan(&sandboxID, &blocks)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM blocks WHERE sandbox = ? AND at IN
			(SELECT at FROM blocks WHERE sandbox = ? ORDER BY at LIMIT ?)`,
			sandboxID, sandboxID, (blocks+1)/2); err != nil {
			return err
		}
	}
}

// Extent implements Keeper.
func (d *Disk) Extent(ctx context.Context, sandboxID string) (teamID string, first, last time.Time, err error) {
	var at, until sql.NullInt64
	err = d.db.QueryRowContext(ctx, `SELECT team, (SELECT min(at) FROM blocks WHERE sandbox = kept.sandbox),
		(SELECT until FROM blocks WHERE sandbox = kept.sandbox ORDER BY at DESC LIMIT 1)
		FROM kept WHERE sandbox = ?`, sandboxID).Scan(&teamID, &at, &until)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !at.Valid {
		return "", time.Time{}, time.Time{}, nil
	}
	return teamID, time.UnixMilli(at.Int64).UTC(), time.UnixMilli(until.Int64).UTC(), err
}

// Visit implements Keeper.
func (d *Disk) Visit(
	ctx context.Context, sandboxID string, from, to time.Time, visit func(shoal.Sample),
) error {
	// The block before the range may reach into it.
	rows, err := d.db.QueryContext(ctx, `SELECT samples FROM blocks WHERE sandbox = ?1 AND at <= ?3 AND at >= coalesce(
		(SELECT max(at) FROM blocks WHERE sandbox = ?1 AND at <= ?2), ?2) ORDER BY at`,
		sandboxID, from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var block sql.RawBytes
		if err := rows.Scan(&block); err != nil {
			return err
		}
		if err := decode(block, visit); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Tidy implements Keeper.
func (d *Disk) Tidy(ctx context.Context, before time.Time) error {
	for { // in parts, since nobody else can write meanwhile
		gone, err := d.db.ExecContext(ctx, `DELETE FROM blocks WHERE (sandbox, at) IN
			(SELECT sandbox, at FROM blocks WHERE until < ? LIMIT 2000)`, before.UnixMilli())
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err
		}
	}
}

// Bytes returns how much is kept of all sandboxes.
func (d *Disk) Bytes(ctx context.Context) (bytes int64, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT bytes FROM total`).Scan(&bytes)
	return bytes, err
}
