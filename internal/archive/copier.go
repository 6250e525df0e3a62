package archive

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"shoal/internal/clickhouse"
)

const (
	// copyPeriod is how long new rows wait, and so about how late the archive has them.
	copyPeriod = 5 * time.Second
	insertTime = 30 * time.Second
	// After a failure, the next try is minBackoff later, then twice that each time up to maxBackoff.
	minBackoff = time.Second
	maxBackoff = time.Minute
	// MaxBatchRows and MaxBatchBytes bound what a spool gives at once.
	MaxBatchRows  = 10_000
	MaxBatchBytes = 8 << 20
)

// Spool is where rows wait until they have been copied. They may be given again after a crash;
// the archive has each once.
type Spool[T, M any] interface {
	// Uncopied returns rows, in the order in which they came, within MaxBatchRows and, but for the
	// last one, MaxBatchBytes; none if all are copied.
	Uncopied(ctx context.Context, rows, bytes int) ([]T, M, error)
	// Copied marks what Uncopied has returned.
	Copied(ctx context.Context, mark M) error
}

// Copier copies the rows of a spool to the server while Run is running. Several may copy the same.
type Copier struct {
	kind   string
	step   func(context.Context) (rows int, err error)
	log    *slog.Logger
	meters meters
	// since is when the oldest row was made that is known to wait, in nanoseconds; 0 is none.
	since atomic.Int64
	// Tests shorten them.
	period, backoff time.Duration
}

// newCopier returns a copier of a kind of rows. row turns one into the table's; those that it
// refuses are left out.
func newCopier[T, M, R any](db *clickhouse.Client, kind, table string, from Spool[T, M],
	at func(T) time.Time, row func(T) (R, bool), log *slog.Logger) *Copier {
	c := &Copier{kind: kind, log: log.With("kind", kind), meters: newMeters(kind),
		period: copyPeriod, backoff: minBackoff}
	c.step = func(ctx context.Context) (int, error) {
		list, mark, err := from.Uncopied(ctx, MaxBatchRows, MaxBatchBytes)
		if err != nil || len(list) == 0 {
			if err == nil {
				c.since.Store(0)
			}
			return 0, err
		}
		c.since.Store(at(list[0]).UnixNano())
		rows := make([]R, 0, len(list))
		for _, one := range list {
			if r, ok := row(one); ok {
				rows = append(rows, r)
			}
		}
		if err := insert(ctx, db, table, rows); err != nil {
			return 0, err
		}
		c.meters.rows.Add(float64(len(rows)))
		return len(list), from.Copied(ctx, mark)
	}
	return c
}

func insert[R any](ctx context.Context, db *clickhouse.Client, table string, rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, insertTime)
	defer cancel()
	return clickhouse.Insert(ctx, db, table, rows)
}

// Lag returns how old the oldest row is that is known to wait.
func (c *Copier) Lag() time.Duration {
	if since := c.since.Load(); since != 0 {
		return time.Since(time.Unix(0, since))
	}
	return 0
}

// Run copies until ctx ends.
func (c *Copier) Run(ctx context.Context) error {
	wait := time.NewTimer(0)
	defer wait.Stop()
	backoff, trouble := c.backoff, ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		err := c.Copy(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			if trouble != "" {
				c.log.Info("rows are copied to the ClickHouse server again")
			}
			backoff, trouble = c.backoff, ""
			wait.Reset(c.period)
			continue
		}
		if text := err.Error(); text != trouble {
			trouble = text
			c.log.Warn("cannot copy rows to the ClickHouse server; they wait", "error", err)
		}
		wait.Reset(backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// Copy copies what there is.
func (c *Copier) Copy(ctx context.Context) error {
	for {
		n, err := c.step(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			c.meters.failures.Inc()
		}
		if err != nil || n == 0 {
			return err
		}
	}
}
