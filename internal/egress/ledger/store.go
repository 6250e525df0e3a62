// Package ledger keeps what became of the connections of one machine's sandboxes. It is not
// essential: an unusable database is replaced by an empty one.
package ledger

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

const (
	// maxRows bounds what one sandbox's records take; the oldest go first.
	maxRows    = 50_000
	tidyPeriod = 10 * time.Minute
)

const schema = `
CREATE TABLE IF NOT EXISTS connections (
	sandbox TEXT NOT NULL,
	team    TEXT NOT NULL,
	minute  INTEGER NOT NULL, -- since 1970
	target  TEXT NOT NULL,
	port    INTEGER NOT NULL,
	outcome TEXT NOT NULL,
	count   INTEGER NOT NULL,
	copied  INTEGER NOT NULL DEFAULT 0, -- of count, to the archive
	PRIMARY KEY (sandbox, minute, target, port, outcome)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS connections_by_age ON connections (minute);
CREATE INDEX IF NOT EXISTS connections_to_copy ON connections (minute) WHERE copied < count;
PRAGMA user_version = 1`

// Store is the database. It is safe for concurrent use.
type Store struct {
	db  *sql.DB
	log *slog.Logger
}

// Open opens or creates the database.
func Open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	s, err := open(ctx, path, log)
	if err == nil {
		return s, nil
	}
	log.Warn("cannot open the database of connections; starting with an empty one", "file", path, "error", err)
	if err := sqlitefile.Remove(path); err != nil {
		return nil, fmt.Errorf("remove the unreadable database of connections: %w", err)
	}
	return open(ctx, path, log)
}

func open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	db, err := sqlitefile.Open(path, sqlitefile.Volatile, 5_000, 2) // one writes while another reads
	if err != nil {
		return nil, fmt.Errorf("open the database of connections: %w", err)
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database of connections: %w", err), db.Close())
	}
	return &Store{db: db, log: log}, nil
}

// Close closes the database. Run must have ended.
func (s *Store) Close() error { return s.db.Close() }

// Run removes what is too old or too much, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyPeriod)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("could not remove old records of connections", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) tidy(ctx context.Context, now time.Time) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM connections WHERE minute < ?`, minuteOf(now.Add(-shoal.EgressRetention)))
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `DELETE FROM connections WHERE (sandbox, minute, target, port, outcome) IN (
	SELECT sandbox, minute, target, port, outcome FROM (
		SELECT *, row_number() OVER (PARTITION BY sandbox ORDER BY minute DESC) AS n FROM connections) WHERE n > ?)`, maxRows)
	return err
}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

func timeOf(minute int64) time.Time { return time.Unix(minute*60, 0).UTC() }

// Add adds counts to those that are there.
func (s *Store) Add(ctx context.Context, list []shoal.EgressRecord) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	for _, r := range list {
		if _, err := tx.ExecContext(ctx, `INSERT INTO connections (sandbox, team, minute, target, port, outcome, count)
			VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET count = count + excluded.count`,
			r.SandboxID, r.TeamID, minuteOf(r.Minute), r.Target, r.Port, string(r.Outcome), r.Count); err != nil {
			return fmt.Errorf("keep records of connections: %w", err)
		}
	}
	return tx.Commit()
}

// Query returns a part of the records of a sandbox, newest first. There is none of an unknown
// one, or of another team's; without a team they are whosever.
func (s *Store) Query(ctx context.Context, sandboxID string, q shoal.EgressQuery) ([]shoal.EgressRecord, error) {
	to := int64(1) << 40
	if !q.To.IsZero() {
		to = minuteOf(q.To)
	}
	limit := shoal.MaxEgressRecords
	if q.Limit > 0 {
		limit = min(q.Limit, limit)
	}
	from := int64(0)
	if !q.From.IsZero() {
		from = minuteOf(q.From)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT team, minute, target, port, outcome, count FROM connections
		WHERE sandbox = ? AND (team = ? OR ? = '') AND minute BETWEEN ? AND ?
		ORDER BY minute DESC, target, port, outcome LIMIT ?`, sandboxID, q.TeamID, q.TeamID, from, to, limit)
	if err != nil {
		return nil, fmt.Errorf("read records of connections: %w", err)
	}
	defer rows.Close()
	var list []shoal.EgressRecord
	for rows.Next() {
		r, minute := shoal.EgressRecord{SandboxID: sandboxID}, int64(0)
		if err := rows.Scan(&r.TeamID, &minute, &r.Target, &r.Port, &r.Outcome, &r.Count); err != nil {
			return nil, fmt.Errorf("read records of connections: %w", err)
		}
		r.Minute = timeOf(minute)
		list = append(list, r)
	}
	return list, rows.Err()
}
