package sandboxlog

import (
	"context"
	"database/sql"
	"errors"

	"shoal/internal/shoal"
)

// rowCost is what the database needs for a line besides its text, in bytes.
const rowCost = 448

func costOf(e shoal.LogEntry) int { return len(e.Message) + len(e.Line) + rowCost }

// bounds are what is kept at most. What exceeds them goes at once, the oldest first, and
// from the one that has most: a sandbox that floods its log pushes out its own lines, and a
// team with many such sandboxes its own.
type bounds struct {
	lines, bytes int64 // of one sandbox
	total        int64 // bytes of all
}

var defaultBounds = bounds{lines: 20_000, bytes: 16 << 20, total: 1 << 30}

// A bound that is exceeded is held with a sixteenth to spare, so that not every line that
// comes has to remove another.
func spare(bound int64) int64 { return bound - bound/16 }

// hold removes what exceeds the bounds after lines of a sandbox came.
func (b bounds) hold(ctx context.Context, tx *sql.Tx, sandboxID string) error {
	var lines, bytes, total int64
	if err := tx.QueryRowContext(ctx, `SELECT lines, kept.bytes, total.bytes FROM kept, total WHERE sandbox = ?`,
		sandboxID).Scan(&lines, &bytes, &total); err != nil {
		return err
	}
	if lines > b.lines || bytes > b.bytes {
		if err := shorten(ctx, tx, sandboxID, spare(b.lines), spare(b.bytes)); err != nil {
			return err
		}
	}
	if total <= b.total {
		return nil
	}
	return makeRoom(ctx, tx, spare(b.total))
}

// makeRoom takes from whoever has most until no more than limit bytes are kept.
func makeRoom(ctx context.Context, tx *sql.Tx, limit int64) error {
	for {
		var sandboxID string
		var bytes int64
		err := tx.QueryRowContext(ctx, `SELECT sandbox, kept.bytes FROM kept, total
WHERE total.bytes > ? AND team = (SELECT team FROM kept GROUP BY team ORDER BY sum(bytes) DESC LIMIT 1)
ORDER BY kept.bytes DESC LIMIT 1`, limit).Scan(&sandboxID, &bytes)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := shorten(ctx, tx, sandboxID, 1<<62, bytes/2); err != nil {
			return err
		}
	}
}

// shorten leaves a sandbox its newest lines, as many as fit. The newest one goes only if it
// is the only one.
func shorten(ctx context.Context, tx *sql.Tx, sandboxID string, lines, bytes int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM lines WHERE rowid IN (SELECT id FROM (
	SELECT rowid AS id, row_number() OVER newest AS n, sum(cost) OVER newest AS size FROM lines
	WHERE sandbox = ? WINDOW newest AS (ORDER BY at DESC, rowid DESC)) WHERE n > ? OR size > ?
		AND (n > 1 OR (SELECT lines = 1 FROM kept WHERE sandbox = ?)))`,
		sandboxID, lines, bytes, sandboxID)
	return err
}
