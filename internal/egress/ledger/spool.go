package ledger

import (
	"context"
	"fmt"
	"time"

	"shoal/internal/shoal"
)

// settleTime is for how long after its minute a record still grows: the egress process tells its
// counts some seconds late.
const settleTime = time.Minute

// Uncopied returns records whose minutes are over, oldest first, of those that are not as Copied has
// marked them: some rows at most, which are small. The mark is for Copied.
func (s *Store) Uncopied(ctx context.Context, rows, _ int) (list, mark []shoal.EgressRecord, err error) {
	found, err := s.db.QueryContext(ctx, `SELECT sandbox, team, minute, target, port, outcome, count FROM connections
		WHERE copied < count AND minute < ? ORDER BY minute LIMIT ?`, minuteOf(time.Now().Add(-settleTime)), rows)
	if err != nil {
		return nil, nil, fmt.Errorf("read records of connections to copy: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var r shoal.EgressRecord
		var minute int64
		if err := found.Scan(&r.SandboxID, &r.TeamID, &minute, &r.Target, &r.Port, &r.Outcome, &r.Count); err != nil {
			return nil, nil, fmt.Errorf("read records of connections to copy: %w", err)
		}
		r.Minute = timeOf(minute)
		list = append(list, r)
	}
	if err := found.Err(); err != nil {
		return nil, nil, fmt.Errorf("read records of connections to copy: %w", err)
	}
	return list, list, nil
}

// Copied marks what Uncopied has returned. What grows afterwards is returned again, as a whole.
func (s *Store) Copied(ctx context.Context, mark []shoal.EgressRecord) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after a commit
	for _, r := range mark {
		if _, err := tx.ExecContext(ctx, `UPDATE connections SET copied = ?
			WHERE sandbox = ? AND minute = ? AND target = ? AND port = ? AND outcome = ?`,
			r.Count, r.SandboxID, minuteOf(r.Minute), r.Target, r.Port, string(r.Outcome)); err != nil {
			return fmt.Errorf("mark records of connections as copied: %w", err)
		}
	}
	return tx.Commit()
}
