package series

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/shoal"
)

// One is one kept sample.
type One struct {
	Source
	Sample shoal.Sample
}

// Uncopied returns samples in the order in which they were kept, of those that Copied has not
// marked yet: some rows or bytes at most, but for those of the last write of a sandbox. The mark is
// for Copied.
func (d *Disk) Uncopied(ctx context.Context, rows, bytes int) (list []One, mark int64, err error) {
	found, err := d.db.QueryContext(ctx, `SELECT n, sandbox, team, samples FROM blocks JOIN kept USING (sandbox)
WHERE n > (SELECT n FROM copied) ORDER BY n LIMIT ?`, rows)
	if err != nil {
		return nil, 0, fmt.Errorf("read samples to copy: %w", err)
	}
	defer found.Close()
	size := 0
	for len(list) < rows && size < bytes && found.Next() {
		var from Source
		var block []byte
		if err := found.Scan(&mark, &from.SandboxID, &from.TeamID, &block); err != nil {
			return nil, 0, fmt.Errorf("read samples to copy: %w", err)
		}
		// Of a damaged block there is what was read of it.
		_ = decode(block, func(s shoal.Sample) {
			list, size = append(list, One{from, s}), size+8*values
		})
	}
	if err := found.Err(); err != nil {
		return nil, 0, fmt.Errorf("read samples to copy: %w", err)
	}
	if len(list) == 0 && mark > 0 { // nothing but damage, which must not be in the way
		return nil, 0, errors.Join(found.Close(), d.Copied(ctx, mark))
	}
	return list, mark, nil
}

// Copied marks what Uncopied has returned, which it then does not return again.
func (d *Disk) Copied(ctx context.Context, mark int64) error {
	if _, err := d.db.ExecContext(ctx, `UPDATE copied SET n = max(n, ?)`, mark); err != nil {
		return fmt.Errorf("mark samples as copied: %w", err)
	}
	return nil
}
