package sandboxlog

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
)

// Kept is a kept line, and what tells it from all others.
type Kept struct {
	SandboxID, TeamID string
	Spool             string // names the database
	Number            int64  // of the line in it
	shoal.LogEntry           // without its fields
}

// Uncopied returns lines in the order in which they came, of those that Copied has not marked yet:
// some rows at most and, but for the last one, bytes. The mark is for Copied.
func (s *Store) Uncopied(ctx context.Context, rows, bytes int) (list []Kept, mark int64, err error) {
	found, err := s.db.QueryContext(ctx, `SELECT spool, lines.rowid, sandbox, team, at, level, message, line
FROM copied, lines WHERE lines.rowid > copied.n ORDER BY lines.rowid LIMIT ?`, rows)
	if err != nil {
		return nil, 0, fmt.Errorf("read lines to copy: %w", err)
	}
	defer found.Close()
	size := 0
	for size < bytes && found.Next() {
		var k Kept
		var at int64
		if err := found.Scan(&k.Spool, &k.Number, &k.SandboxID, &k.TeamID, &at, (*string)(&k.Level), &k.Message,
			&k.Line); err != nil {
			return nil, 0, fmt.Errorf("read lines to copy: %w", err)
		}
		k.Time = time.UnixMicro(at).UTC()
		list, size, mark = append(list, k), size+len(k.Message)+len(k.Line), k.Number
	}
	if err := found.Err(); err != nil {
		return nil, 0, fmt.Errorf("read lines to copy: %w", err)
	}
	return list, mark, nil
}

// Copied marks what Uncopied has returned, which it then does not return again.
func (s *Store) Copied(ctx context.Context, mark int64) error {
	if _, err := s.db.ExecContext(ctx, `UPDATE copied SET n = max(n, ?)`, mark); err != nil {
		return fmt.Errorf("mark lines as copied: %w", err)
	}
	return nil
}
