// Package eventlog keeps the events of one machine's sandboxes on its disk until the store has
// them. It also knows which sandboxes have not ended, so that the end of those that a power cut
// has taken, with their records, can still be told.
package eventlog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/sqlitefile"
)

const (
	// maxBytes bounds the events that nobody has taken; maxBatch, and by their size maxBatchBytes,
	// those that are read at once.
	maxBytes      = 256 << 20
	maxBatch      = 500
	maxBatchBytes = 4 << 20
	// rowCost is what the database needs for an event besides its text, in bytes.
	rowCost = 256
)

// Log is the log of a machine. It is safe for concurrent use.
type Log struct {
	db  *sql.DB
	id  string
	log *slog.Logger
	max int64 // bytes; maxBytes

	writing sync.Mutex // held while the next batch is written; taken before mu

	mu   sync.Mutex    // guards the rest; a leaf
	next *batch        // what the next writer writes; nil if there is nothing
	news chan struct{} // closed when there are new events
	kept int64         // bytes
}

// batch is what one transaction writes for all who wait for it.
type batch struct {
	events []shoal.Event
	done   bool // guarded by Log.writing
	err    error
}

// Open opens or creates the log. One that cannot be read is put aside, for events of it may be
// had from it by hand, and must not keep the machine from its start.
func Open(ctx context.Context, path string, log *slog.Logger) (*Log, error) {
	l, err := open(ctx, path, log)
	if err == nil {
		return l, nil
	}
	aside := fmt.Sprintf("%s.unreadable-%d", path, time.Now().Unix())
	log.Error("the log of events cannot be read and is put aside; events that nobody has taken are lost",
		"file", aside, "error", err)
	if err := sqlitefile.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("put the log of events aside: %w", err)
	}
	return open(ctx, path, log)
}

func open(ctx context.Context, path string, log *slog.Logger) (*Log, error) {
	db, err := sqlitefile.Open(path, sqlitefile.Durable, 10_000, 2) // one writes while another reads
	if err != nil {
		return nil, fmt.Errorf("open the log of events: %w", err)
	}
	l := &Log{db: db, log: log, max: maxBytes, news: make(chan struct{})}
	if l.id, err = prepare(ctx, db); err == nil {
		err = db.QueryRowContext(ctx, `SELECT COALESCE(SUM(bytes), 0) FROM events`).Scan(&l.kept)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the log of events: %w", err), db.Close())
	}
	return l, nil
}

// Close closes the log.
func (l *Log) Close() error { return l.db.Close() }

// Append returns when events are on the disk, in their order. One that is there already stays.
// Those of several callers are written at once.
func (l *Log) Append(ctx context.Context, events []shoal.Event) error {
	if len(events) == 0 {
		return nil
	}
	l.mu.Lock()
	if l.next == nil {
		l.next = &batch{}
	}
	mine := l.next
	mine.events = append(mine.events, events...)
	l.mu.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	if mine.done {
		return mine.err
	}
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	// Others wait for it too.
	mine.err, mine.done = l.write(context.WithoutCancel(ctx), mine.events), true
	return mine.err
}

// write is one transaction; l.writing is held.
func (l *Log) write(ctx context.Context, events []shoal.Event) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("keep events: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	var added int64
	for _, e := range events {
		n, err := insert(ctx, tx, e)
		if err != nil {
			return fmt.Errorf("keep events: %w", err)
		}
		added += n
	}
	dropped, err := l.makeRoom(ctx, tx, added)
	if err != nil {
		return fmt.Errorf("make room for events: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("keep events: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept += added - dropped
	close(l.news)
	l.news = make(chan struct{})
	return nil
}

// insert returns how many bytes an event takes, 0 if it is there already.
func insert(ctx context.Context, tx *sql.Tx, e shoal.Event) (int64, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	bytes := int64(len(text) + rowCost)
	result, err := tx.ExecContext(ctx, `INSERT INTO events (id, team, bytes, event) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING`, e.ID, e.TeamID, bytes, string(text))
	if err != nil {
		return 0, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return 0, err
	}
	if e.Type == shoal.EventKilled {
		_, err = tx.ExecContext(ctx, `DELETE FROM living WHERE sandbox = ?`, e.SandboxID)
	} else {
		_, err = tx.ExecContext(ctx, `INSERT INTO living VALUES (?, ?)
ON CONFLICT (sandbox) DO UPDATE SET event = excluded.event`, e.SandboxID, string(text))
	}
	return bytes, err
}

// makeRoom drops the oldest events of whoever has most, once nobody has taken any for so long
// that they are too many. It returns the bytes.
func (l *Log) makeRoom(ctx context.Context, tx *sql.Tx, added int64) (dropped int64, err error) {
	l.mu.Lock()
	kept := l.kept + added
	l.mu.Unlock()
	for kept-dropped > l.max {
		var team string
		var has int64
		err := tx.QueryRowContext(ctx, `SELECT team, SUM(bytes) AS has FROM events
GROUP BY team ORDER BY has DESC LIMIT 1`).Scan(&team, &has)
		if err != nil {
			return 0, err
		}
		var last, bytes int64 // the oldest sixteenth of what that team has, at least one event
		err = tx.QueryRowContext(ctx, `SELECT position, sum FROM (
	SELECT position, SUM(bytes) OVER (ORDER BY position) AS sum FROM events WHERE team = ?)
WHERE sum >= ? ORDER BY position LIMIT 1`, team, has/16).Scan(&last, &bytes)
		if err != nil {
			return 0, err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM events WHERE team = ? AND position <= ?`, team, last)
		if err != nil {
			return 0, err
		}
		l.log.Error("events are lost: no api has taken them, and they are too many", "team", team, "bytes", bytes)
		dropped += bytes
	}
	return dropped, nil
}

// After returns events that come after a mark, and forgets those before it. news is closed when
// there are others.
func (l *Log) After(
	ctx context.Context, mark shoal.EventMark,
) (_ shoal.EventBatch, news <-chan struct{}, err error) {
	l.mu.Lock()
	news = l.news
	l.mu.Unlock()
	if mark.Log != l.id {
		mark = shoal.EventMark{Log: l.id}
	}
	if err := l.forget(ctx, mark.Position); err != nil {
		return shoal.EventBatch{}, nil, fmt.Errorf("forget events: %w", err)
	}
	rows, err := l.db.QueryContext(ctx, `SELECT position, event FROM events WHERE position > ?
ORDER BY position LIMIT ?`, mark.Position, maxBatch)
	if err != nil {
		return shoal.EventBatch{}, nil, fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	batch, size := shoal.EventBatch{Next: mark}, 0
	for size < maxBatchBytes && rows.Next() {
		var text string
		if err := rows.Scan(&batch.Next.Position, &text); err != nil {
			return shoal.EventBatch{}, nil, fmt.Errorf("read events: %w", err)
		}
		var e shoal.Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return shoal.EventBatch{}, nil, fmt.Errorf("read an event: %w", err)
		}
		batch.Events = append(batch.Events, e)
		size += len(text)
	}
	if err := rows.Err(); err != nil {
		return shoal.EventBatch{}, nil, fmt.Errorf("read events: %w", err)
	}
	return batch, news, nil
}

// forget removes events up to a position.
func (l *Log) forget(ctx context.Context, position int64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	none := l.kept == 0
	l.mu.Unlock()
	if none || position == 0 {
		return nil
	}
	var bytes int64
	err := l.db.QueryRowContext(ctx, `SELECT COALESCE(SUM(bytes), 0) FROM events WHERE position <= ?`,
		position).Scan(&bytes)
	if err != nil || bytes == 0 {
		return err
	}
	if _, err := l.db.ExecContext(ctx, `DELETE FROM events WHERE position <= ?`, position); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept -= bytes
	return nil
}

// Lost returns the last event of each sandbox that has not ended and is not among the known
// ones.
func (l *Log) Lost(ctx context.Context, known map[string]bool) ([]shoal.Event, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT sandbox, event FROM living ORDER BY sandbox`)
	if err != nil {
		return nil, fmt.Errorf("read which sandboxes have not ended: %w", err)
	}
	defer rows.Close()
	var lost []shoal.Event
	for rows.Next() {
		var sandboxID, text string
		if err := rows.Scan(&sandboxID, &text); err != nil {
			return nil, fmt.Errorf("read which sandboxes have not ended: %w", err)
		}
		var e shoal.Event
		if known[sandboxID] {
			continue
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return nil, fmt.Errorf("read an event: %w", err)
		}
		lost = append(lost, e)
	}
	return lost, rows.Err()
}
