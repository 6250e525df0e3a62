package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// Away reports whether an error comes from a server of the database that is not reached, stops,
// starts, or takes no writes because another one does now. What failed may be done nevertheless, if
// it was a commit.
func Away(err error) bool {
	var connecting *pgconn.ConnectError
	var broken *brokenError
	var answer *pgconn.PgError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false // by whoever asked
	case errors.As(err, &answer):
		return elsewhere(answer.Code)
	case errors.As(err, &connecting), errors.As(err, &broken), errors.Is(err, driver.ErrBadConn):
		return true
	}
	return pgconn.SafeToRetry(err)
}

// elsewhere reports whether a server's code says that it is of no use for now.
func elsewhere(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", // it stops, has crashed, starts
		"25006": // it only lets read: a standby, or fenced off
		return true
	}
	return false
}

// connectPostgres opens connections that end with the server's service. After a failover, the
// server from before may still answer on those that are open, and let nobody write.
func connectPostgres(location string) (driver.Connector, error) {
	cfg, err := pgx.ParseConfig(location)
	if err != nil {
		return nil, err
	}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &link{c}, nil
	}
	const key = "moves" // how many there had been when the connection was opened
	var moves atomic.Int64
	cfg.OnPgError = func(_ *pgconn.PgConn, err *pgconn.PgError) (keep bool) {
		if elsewhere(err.Code) {
			moves.Add(1)
			return false
		}
		return !strings.EqualFold(err.Severity, "FATAL")
	}
	return stdlib.GetConnector(*cfg,
		stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
			c.PgConn().CustomData()[key] = moves.Load()
			return nil
		}),
		stdlib.OptionResetSession(func(_ context.Context, c *pgx.Conn) error {
			if c.PgConn().CustomData()[key] != moves.Load() {
				return driver.ErrBadConn // a new one finds the server that took over
			}
			return nil
		})), nil
}

// link is a connection whose failures can be told from those of others.
type link struct{ net.Conn }

// brokenError is a failure of a link.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return fmt.Sprintf("connection to the database: %v", e.err) }
func (e *brokenError) Unwrap() error { return e.err }

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	return n, brokenBy(err)
}

func (l *link) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	return n, brokenBy(err)
}

// brokenBy leaves timeouts as they are, by which pgx ends what a context has ended.
func brokenBy(err error) error {
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return &brokenError{err}
}
