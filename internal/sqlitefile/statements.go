package sqlitefile

import (
	"context"
	"database/sql/driver"
	"errors"
)

// SQLite takes longer to compile most queries than to run them, and the driver compiles a query each
// time. So a connection keeps the statements that it has compiled. SQLite compiles them anew by itself
// when the schema has changed.

// keptStatements is how many a connection keeps, which is more than there are queries. Texts that
// differ each time would fill it; then it begins anew.
const keptStatements = 256

// connector opens connections that keep their statements.
type connector struct {
	driver driver.Driver
	name   string
}

var _ driver.Connector = connector{}

func (c connector) Driver() driver.Driver { return c.driver }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	opened, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	plain, ok := opened.(plainConnection)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver lacks a part of its interface"), opened.Close())
	}
	return &connection{plainConnection: plain, idle: map[string]statement{}}, nil
}

// plainConnection is what the driver's connections are.
type plainConnection interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// connection is used by one goroutine at a time, as package sql promises.
type connection struct {
	plainConnection
	idle map[string]statement // by their text; whoever uses one takes it out
}

var (
	_ driver.ExecerContext  = (*connection)(nil)
	_ driver.QueryerContext = (*connection)(nil)
	_ driver.Rows           = (*rows)(nil)
)

// ExecContext executes a statement that is kept afterwards.
func (c *connection) ExecContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (driver.Result, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return result, c.keep(query, s)
}

// QueryContext executes a statement that is kept when its rows are closed.
func (c *connection) QueryContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	found, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &rows{Rows: found, closed: func() error { return c.keep(query, s) }}, nil
}

// take returns a statement that nobody else uses: a transaction may have rows of the same query open.
func (c *connection) take(ctx context.Context, query string) (statement, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(statement), nil
}

func (c *connection) keep(query string, s statement) error {
	if _, ok := c.idle[query]; ok {
		return s.Close()
	}
	var err error
	if len(c.idle) == keptStatements {
		err = c.drop()
	}
	c.idle[query] = s
	return err
}

// drop closes all statements that are not in use.
func (c *connection) drop() (errs error) {
	for _, s := range c.idle {
		errs = errors.Join(errs, s.Close())
	}
	clear(c.idle)
	return errs
}

// Close closes the connection with its statements.
func (c *connection) Close() error { return errors.Join(c.drop(), c.plainConnection.Close()) }

// rows are those of a statement that is kept.
type rows struct {
	driver.Rows
	closed func() error
}

// Close gives the statement back. Package sql closes rows once.
func (r *rows) Close() error { return errors.Join(r.Rows.Close(), r.closed()) }
