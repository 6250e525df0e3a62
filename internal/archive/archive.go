// Package archive keeps events, metrics and logs of sandboxes on a ClickHouse server, for longer
// than machines and the store do, and when they are gone. What it has comes from there by copiers,
// some seconds late. While the server is away, copiers wait and readers do without.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"shoal/internal/clickhouse"
)

const (
	// readTime bounds a read: an answer waits no longer for what it can do without.
	readTime = 3 * time.Second
	// probePeriod is how often it is looked whether the server answers.
	probePeriod = 5 * time.Second
	probeTime   = 3 * time.Second
	prepareTime = time.Minute
)

// ErrAway is returned by reads while the server does not answer, at once.
var ErrAway = errors.New("the ClickHouse server does not answer")

// Days are for how many days what is kept; Logs is of records of connections, too.
type Days struct{ Events, Metrics, Logs int }

// Archive prepares the tables on a server and reads from them. It is safe for concurrent use. It
// finds out that the server is there only while Run is running.
type Archive struct {
	db     *clickhouse.Client
	days   Days
	log    *slog.Logger
	reads  *prometheus.CounterVec
	onMade func(context.Context) error

	mu      sync.Mutex // a leaf; guards the rest
	up      bool       // the tables are as they should be, and the server answered last
	trouble string     // what keeps it from that, "" before it was tried
}

// New returns an archive. Before tables that are new are used, onMade is called: what was copied
// into others is to be copied again.
func New(db *clickhouse.Client, days Days, onMade func(context.Context) error, log *slog.Logger) *Archive {
	return &Archive{db: db, days: days, onMade: onMade, log: log, reads: newReads()}
}

// Run prepares the tables, and looks whether the server answers, until ctx ends.
func (a *Archive) Run(ctx context.Context) error {
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	for {
		_ = a.Probe(ctx) // became has said it
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Probe looks whether the archive can be used, and prepares it if it could not lately.
func (a *Archive) Probe(ctx context.Context) error {
	probe := a.Prepare
	if a.Err() == nil {
		probe = a.verify
	}
	err := probe(ctx)
	if ctx.Err() == nil {
		a.became(err)
	}
	return err
}

// Prepare makes the tables or brings them up to date, and checks them.
func (a *Archive) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	return prepare(ctx, a.db, a.days, a.onMade)
}

func (a *Archive) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return verify(ctx, a.db)
}

// Err returns an error unless the archive can be read.
func (a *Archive) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.up:
		return nil
	case a.trouble == "":
		return ErrAway
	}
	return fmt.Errorf("%w: %s", ErrAway, a.trouble)
}

// became notes whether the archive can be used, and logs when that changes.
func (a *Archive) became(err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	a.mu.Lock()
	was, before := a.up, a.trouble
	a.up, a.trouble = err == nil, trouble
	a.mu.Unlock()
	switch {
	case err == nil && !was:
		a.log.Info("the ClickHouse server is used", "database", a.db.Database())
	case err != nil && trouble != before:
		a.log.Warn("the ClickHouse server cannot be used; what is older than machines and the database keep is not "+
			"answered meanwhile", "error", err)
	}
}

// read runs a statement, within readTime, and counts it.
func read[T any](ctx context.Context, a *Archive, sql string, params clickhouse.Params, visit func(T) error) error {
	if err := a.Err(); err != nil {
		a.reads.WithLabelValues("skipped").Inc()
		return err
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	err := clickhouse.Select(ctx, a.db, sql, params, visit)
	switch {
	case err == nil:
		a.reads.WithLabelValues("answered").Inc()
		return nil
	case caller.Err() != nil: // who asked has given up
		return err
	}
	a.reads.WithLabelValues("failed").Inc()
	if isAway(err) {
		a.became(err) // the next ones need not wait
	}
	return err
}

// isAway reports whether the server did not answer, as opposed to an answer that is an error.
func isAway(err error) bool {
	var refused *clickhouse.Error
	var failed net.Error
	return !errors.As(err, &refused) && (errors.As(err, &failed) || errors.Is(err, context.DeadlineExceeded))
}
