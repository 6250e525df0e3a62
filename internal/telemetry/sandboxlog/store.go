// Package sandboxlog stores the logs of one machine's sandboxes: what their daemons
// report, and what the machine did to them. Logs are not essential: an unusable database
// is replaced by an empty one, and excess lines are dropped.
package sandboxlog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"shoal/internal/shoal"
	"shoal/internal/sqlitefile"
)

const (
	// A sandbox may report lineBurst bytes at once and lineRate bytes a second, where each
	// line costs lineCost bytes besides its own.
	lineBurst = 4 << 20
	lineRate  = 8 << 10
	lineCost  = 256
	// maxReading is how many reports are parsed at once. One may need many times its bytes.
	maxReading = 2
	tidyPeriod = 10 * time.Minute
	maxLimiter = 10_000 // sandboxes whose rates are remembered
)

// Store is the database of logs. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	log     *slog.Logger
	notes   sync.WaitGroup // counts the goroutines started by Note
	reading chan struct{}  // has an entry for each report that is parsed
	bounds  bounds         // defaultBounds

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

// Open opens or creates the database.
func Open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	s, err := open(ctx, path, log)
	if err == nil {
		return s, nil
	}
	log.Warn("cannot open the database of sandbox logs; starting with an empty one", "file", path, "error", err)
	if err := sqlitefile.Remove(path); err != nil {
		return nil, fmt.Errorf("remove the unreadable logs: %w", err)
	}
	return open(ctx, path, log)
}

func open(ctx context.Context, path string, log *slog.Logger) (*Store, error) {
	db, err := sqlitefile.Open(path, sqlitefile.Volatile, 5_000, 2) // one writes while another reads
	if err != nil {
		return nil, fmt.Errorf("open the sandboxes' logs: %w", err)
	}
	s := &Store{db: db, log: log, limits: map[string]*rate.Limiter{}, bounds: defaultBounds,
		reading: make(chan struct{}, maxReading)}
	if err := prepare(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open the sandboxes' logs: %w", err), db.Close())
	}
	return s, nil
}

// Close waits until the last notes are stored. Run must have ended.
func (s *Store) Close() error {
	s.notes.Wait()
	return s.db.Close()
}

// Run removes lines that are too old, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(tidyPeriod)
	defer tick.Stop()
	for {
		if err := s.tidy(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("could not remove old lines of sandbox logs", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) tidy(ctx context.Context, now time.Time) error {
	for { // in parts, since nobody else can write meanwhile
		gone, err := s.db.ExecContext(ctx, `DELETE FROM lines WHERE rowid IN
			(SELECT rowid FROM lines WHERE at < ? LIMIT 5000)`, now.Add(-shoal.LogRetention).UnixMicro())
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n == 0 {
			return err
		}
	}
}

// Add stores the lines that a sandbox's daemon or another program in it reports, each a
// JSON object. Invalid lines and lines older than the sandbox are left out. A report that is
// too large is ErrLogReport, and one too many ErrLogRate.
func (s *Store) Add(ctx context.Context, from Source, body []byte) error {
	lines := bytes.Count(body, []byte("\n")) + 1
	if lines > maxLines {
		return shoal.ErrLogReport.New("the report has more than %d lines", maxLines)
	}
	if !s.limiter(from.SandboxID).AllowN(time.Now(), len(body)+lines*lineCost) {
		return shoal.ErrLogRate.New("the sandbox logs too much")
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return ctx.Err()
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
			// A number that is copied already is not given again, even after the last line is gone.
			`INSERT INTO lines (rowid, sandbox, team, at, level, message, line, cost)
SELECT 1 + max(copied.n, coalesce((SELECT max(rowid) FROM lines), 0)), ?, ?, ?, ?, ?, ?, ? FROM copied`,
			from.SandboxID, from.TeamID, e.Time.UnixMicro(), string(e.Level), e.Message, e.Line,
			costOf(e)); err != nil {
			return fmt.Errorf("keep lines of a sandbox's log: %w", err)
		}
	}
	if err := s.bounds.hold(ctx, tx, from.SandboxID); err != nil {
		return fmt.Errorf("keep lines of a sandbox's log: %w", err)
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
	// Older lines go at the next tidying.
	args := append([]any{sandboxID, teamID, time.Now().Add(-shoal.LogRetention).UnixMicro(), micros(q.From)}, levels[:]...)
	rows, err := s.db.QueryContext(ctx, `SELECT at, level, message, line FROM lines
WHERE sandbox = ? AND team = ? AND at >= ? AND `+compare+` AND level IN (?, ?, ?, ?) AND (? = '' OR instr(message, ?) > 0)
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
		e.Fields = FieldsOf(e.Line)
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
