// Package sandboxlog stores the logs of one machine's sandboxes: what their daemons
// report, and what the machine did to them. Logs are not essential: an unusable database
// is replaced by an empty one, and excess lines are dropped.
package sandboxlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"shoal/internal/shoal"
)

const (
	// A sandbox may write lineBurst bytes at once and lineRate bytes a second.
	lineBurst = 4 << 20
	lineRate  = 4 << 10
	// maxSize bounds the database, in bytes; the oldest lines are dropped first.
	maxSize    = 1 << 30
	tidyPeriod = 10 * time.Minute
	maxLimiter = 10_000 // sandboxes whose rates are remembered
)

// schemaVersion is incremented whenever the tables change. Logs of other versions are
// dropped.
const (
	schemaVersion = 1
	schema        = `
CREATE TABLE lines (
	sandbox TEXT NOT NULL,
	team    TEXT NOT NULL,
	at      INTEGER NOT NULL, -- microseconds since 1970
	level   TEXT NOT NULL,
	message TEXT NOT NULL,
	line    TEXT NOT NULL
);
CREATE INDEX lines_of_sandbox ON lines (sandbox, at);
CREATE INDEX lines_by_age ON lines (at);
PRAGMA user_version = 1;`
)

// Store is the database of logs. It is safe for concurrent use.
type Store struct {
	db    *sql.DB
	log   *slog.Logger
	notes sync.WaitGroup // counts the goroutines started by Note

	mu     sync.Mutex // guards limits
	limits map[string]*rate.Limiter
}

// Source is the sandbox that lines come from.
type Source struct {
	SandboxID  string
	TeamID     string
	TemplateID string
	// Since is when the sandbox was created. Older lines come from the sandbox that it
	// was copied from, and are dropped.
	Since time.Time
}

// ErrTooMuch means that a sandbox exceeds the rate at which it may log.
var ErrTooMuch = errors.New("the sandbox logs too much")

// Open opens or creates the database.
func Open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	s, err := open(ctx, path, log)
	if err == nil {
		return s, nil
	}
	log.Warn("cannot open the database of sandbox logs; starting with an empty one", "file", path, "error", err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove the unreadable logs: %w", err)
		}
	}
	return open(ctx, path, log)
}

func open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // readable by its owner only
	if err != nil {
		return nil, fmt.Errorf("open the sandboxes' logs: %w", err)
	}
	f.Close()
	// Writes do not wait for the disk, so a power failure may lose the last lines.
	options := url.Values{"_txlock": {"immediate"},
		"_pragma": {"journal_mode(WAL)", "synchronous(OFF)", "busy_timeout(5000)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, fmt.Errorf("open the sandboxes' logs: %w", err)
	}
	db.SetMaxOpenConns(2) // one writes while another reads
	s := &Store{db: db, log: log, limits: map[string]*rate.Limiter{}}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the sandboxes' logs: %w", err), db.Close())
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	var version int
	if err := s.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version != 0 && version != schemaVersion {
		return fmt.Errorf("they have version %d", version)
	}
	if version == 0 {
		_, err := s.db.ExecContext(ctx, schema)
		return err
	}
	_, err := s.db.ExecContext(ctx, `SELECT sandbox, team, at, level, message, line FROM lines LIMIT 0`)
	return err
}

// Close waits until the last notes are stored. Run must have ended.
func (s *Store) Close() error {
	s.notes.Wait()
	return s.db.Close()
}

// Run removes lines that are too old or exceed maxSize, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyPeriod)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx, time.Now(), maxSize); err != nil && ctx.Err() == nil {
			s.log.Warn("could not remove old lines of sandbox logs", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) tidy(ctx context.Context, now time.Time, limit int64) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM lines WHERE at < ?`,
		now.Add(-shoal.LogRetention).UnixMicro()); err != nil {
		return err
	}
	for {
		used, err := s.used(ctx)
		if err != nil || used <= limit {
			return err
		}
		// Delete the oldest tenth of the lines at a time.
		gone, err := s.db.ExecContext(ctx, `DELETE FROM lines WHERE at <=
			(SELECT at FROM lines ORDER BY at LIMIT 1 OFFSET (SELECT count(*) / 10 FROM lines))`)
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err
		}
	}
}

// used returns the size of the database's pages that are in use, in bytes.
func (s *Store) used(ctx context.Context) (int64, error) {
	var pages, free, size int64
	for query, into := range map[string]*int64{
		`PRAGMA page_count`: &pages, `PRAGMA freelist_count`: &free, `PRAGMA page_size`: &size} {
		if err := s.db.QueryRowContext(ctx, query).Scan(into); err != nil {
			return 0, err
		}
	}
	return (pages - free) * size, nil
}

// Add stores the lines that a sandbox's daemon or another program in it reports, each a
// JSON object. Invalid lines and lines older than the sandbox are left out.
func (s *Store) Add(ctx context.Context, from Source, body []byte) error {
	if !s.limiter(from.SandboxID).AllowN(time.Now(), min(len(body), lineBurst)) {
		return ErrTooMuch
	}
	return s.insert(ctx, from, decode(from, body, time.Now()))
}

// Note stores a line that the machine itself writes about a sandbox. It does not block.
func (s *Store) Note(from Source, level shoal.LogLevel, message string, fields map[string]any) {
	line := compose(from, level, message, fields, time.Now())
	s.notes.Go(func() {
		if err := s.insert(context.Background(), from, []shoal.LogEntry{line}); err != nil {
			s.log.Warn("could not store a line of a sandbox's log", "sandbox", from.SandboxID, "error", err)
		}
	})
}

func (s *Store) insert(ctx context.Context, from Source, list []shoal.LogEntry) error {
	if len(list) == 0 {
		return nil
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("keep lines of a sandbox's log: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	for _, e := range list {
		if _, err := tx.ExecContext(ctx,
			`INSERT INTO lines (sandbox, team, at, level, message, line) VALUES (?, ?, ?, ?, ?, ?)`,
			from.SandboxID, from.TeamID, e.Time.UnixMicro(), string(e.Level), e.Message, e.Line); err != nil {
			return fmt.Errorf("keep lines of a sandbox's log: %w", err)
		}
	}
	return tx.Commit()
}

func (s *Store) limiter(sandboxID string) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.limits[sandboxID]
	if !ok {
		if len(s.limits) >= maxLimiter {
			clear(s.limits)
		}
		l = rate.NewLimiter(lineRate, lineBurst)
		s.limits[sandboxID] = l
	}
	return l
}

// Query returns part of the log of a team's sandbox, which may have ended. The result is
// empty for an unknown sandbox or another team's.
func (s *Store) Query(ctx context.Context, sandboxID, teamID string,
	q shoal.LogQuery) ([]shoal.LogEntry, error) {
	var levels [4]any // of q.Level and above; "" matches nothing
	for i, level := range []shoal.LogLevel{shoal.LogDebug, shoal.LogInfo, shoal.LogWarn, shoal.LogError} {
		if levels[i] = ""; q.Level == "" || level.AtLeast(q.Level) {
			levels[i] = string(level)
		}
	}
	compare, order := "at >= ?", "ASC"
	if q.Backward {
		compare, order = "at <= ?", "DESC"
		if q.From.IsZero() {
			q.From = time.Now().Add(time.Hour)
		}
	}
	args := append([]any{sandboxID, teamID, micros(q.From)}, levels[:]...)
	rows, err := s.db.QueryContext(ctx, `SELECT at, level, message, line FROM lines
WHERE sandbox = ? AND team = ? AND `+compare+` AND level IN (?, ?, ?, ?) AND (? = '' OR instr(message, ?) > 0)
ORDER BY at `+order+`, rowid `+order+` LIMIT ?`, append(args, q.Search, q.Search, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("read a sandbox's log: %w", err)
	}
	defer rows.Close()
	var list []shoal.LogEntry
	for rows.Next() {
		var e shoal.LogEntry
		var at int64
		if err := rows.Scan(&at, (*string)(&e.Level), &e.Message, &e.Line); err != nil {
			return nil, fmt.Errorf("read a sandbox's log: %w", err)
		}
		e.Time = time.UnixMicro(at).UTC()
		e.Fields = fieldsOf(e.Line)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read a sandbox's log: %w", err)
	}
	return list, nil
}

// micros returns microseconds since 1970, and 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
