// Package sandboxlog keeps the logs of one machine's sandboxes: what their daemons
// report, and what the machine did with them. Logs are a help, not a truth: a database
// that cannot be used is put aside, and lines that are too many are dropped.
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
	// maxSize bounds the database, in bytes; the oldest lines make room.
	maxSize    = 1 << 30
	tidyPeriod = 10 * time.Minute
	maxLimiter = 10_000 // sandboxes whose rates are remembered
)

// schemaVersion is raised with every change of the tables; logs of an older one are
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

// Store is safe for concurrent use.
type Store struct {
	db    *sql.DB
	log   *slog.Logger
	notes sync.WaitGroup // those on their way

	mu     sync.Mutex // guards limits
	limits map[string]*rate.Limiter
}

// Source is the sandbox whose lines are kept.
type Source struct {
	SandboxID  string
	TeamID     string
	TemplateID string
	// Since is when it was made. Older lines are another's: of the sandbox that it was
	// copied from.
	Since time.Time
}

// ErrTooMuch means that a sandbox logs faster than is kept.
var ErrTooMuch = errors.New("the sandbox logs too much")

// Open opens or makes the database.
func Open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	s, err := open(ctx, path, log)
	if err == nil {
		return s, nil
	}
	log.Warn("the sandboxes' logs cannot be read; new ones are begun", "file", path, "error", err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove the unreadable logs: %w", err)
		}
	}
	return open(ctx, path, log)
}

func open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // its owner alone reads it
	if err != nil {
		return nil, fmt.Errorf("open the sandboxes' logs: %w", err)
	}
	f.Close()
	// A power cut may cost the last lines, but no line waits for the disk.
	options := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(OFF)", "busy_timeout(5000)"}, "_txlock": {"immediate"}}
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

// Close keeps the last notes. It must come after the end of Run.
func (s *Store) Close() error {
	s.notes.Wait()
	return s.db.Close()
}

// Run removes what is too old or too much until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyPeriod)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx, time.Now(), maxSize); err != nil && ctx.Err() == nil {
			s.log.Warn("old lines of sandboxes' logs are left", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) tidy(ctx context.Context, now time.Time, limit int64) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM lines WHERE at < ?`, now.Add(-shoal.LogRetention).UnixMicro()); err != nil {
		return err
	}
	for {
		used, err := s.used(ctx)
		if err != nil || used <= limit {
			return err
		}
		// A tenth of the lines at a time.
		gone, err := s.db.ExecContext(ctx, `DELETE FROM lines WHERE at <= (SELECT at FROM lines ORDER BY at LIMIT 1 OFFSET (SELECT count(*) / 10 FROM lines))`)
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err
		}
	}
}

// used is the size of the pages that hold something, in bytes.
func (s *Store) used(ctx context.Context) (int64, error) {
	var pages, free, size int64
	for query, into := range map[string]*int64{`PRAGMA page_count`: &pages, `PRAGMA freelist_count`: &free, `PRAGMA page_size`: &size} {
		if err := s.db.QueryRowContext(ctx, query).Scan(into); err != nil {
			return 0, err
		}
	}
	return (pages - free) * size, nil
}

// Add keeps what a sandbox's daemon, or another program in it, reports: one JSON
// object a line. What is none, or is older than the sandbox, is left out.
func (s *Store) Add(ctx context.Context, from Source, body []byte) error {
	if !s.limiter(from.SandboxID).AllowN(time.Now(), min(len(body), lineBurst)) {
		return ErrTooMuch
	}
	return s.insert(ctx, from, decode(from, body, time.Now()))
}

// Note keeps a line of the machine's own about a sandbox, beside what the caller does.
func (s *Store) Note(from Source, level shoal.LogLevel, message string, fields map[string]any) {
	line := compose(from, level, message, fields, time.Now())
	s.notes.Go(func() {
		if err := s.insert(context.Background(), from, []shoal.LogEntry{line}); err != nil {
			s.log.Warn("a line of a sandbox's log is lost", "sandbox", from.SandboxID, "error", err)
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
		if _, err := tx.ExecContext(ctx, `INSERT INTO lines (sandbox, team, at, level, message, line) VALUES (?, ?, ?, ?, ?, ?)`,
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

// Query returns a part of the log of a team's sandbox, which may have ended. There is
// none of an unknown one, or of another team's.
func (s *Store) Query(ctx context.Context, sandboxID, teamID string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
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

// micros is 0 for the zero time, which is before 1970.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
