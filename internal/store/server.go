package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Server is what a database's server says of itself. Of SQLite, which has none, only the engine is
// known.
type Server struct {
	Engine  string
	Version string
	// Major is the first number of the version; 0 for SQLite.
	Major int
	// Clock is the server's time; Asked and Answered are this machine's before and after it was told.
	Clock, Asked, Answered time.Time
	// ReadOnly means that the server is a standby, or its operator lets nobody write.
	ReadOnly bool
	// Free is how many further connections the server takes.
	Free int
}

// Pool is how many connections one process has to a Postgres server at most.
const Pool = 16

// AskServer asks the server of a database, and changes nothing. A database that does not exist is an
// error.
func AskServer(ctx context.Context, location string) (_ Server, err error) {
	eng, err := openExisting(location)
	if err != nil {
		return Server{}, err
	}
	defer func() { err = errors.Join(err, eng.db.Close()) }()
	if err := eng.reach(ctx); err != nil {
		return Server{}, err
	}
	s := Server{Engine: eng.name}
	if eng.about == "" {
		return s, nil
	}
	var number int
	s.Asked = time.Now()
	row := eng.db.QueryRowContext(ctx, eng.about)
	err = row.Scan(&s.Version, &number, &s.Clock, &s.ReadOnly, &s.Free)
	s.Answered, s.Major = time.Now(), number/10_000
	if err != nil {
		return Server{}, fmt.Errorf("ask the %s server about itself: %w", eng.name, err)
	}
	return s, nil
}

// aboutPostgres asks for what Server has. Connections of others that are not to be seen count too.
const aboutPostgres = `
	SELECT current_setting('server_version'), current_setting('server_version_num')::int, clock_timestamp(),
		pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
			- (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())::int`
