// Package storetest starts Debian's Postgres for tests, with a database for each, and for measurements.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// postgres is the test binary's private server, started on first use and ended by Main.
var postgres struct {
	once   sync.Once
	err    error
	server *Server
	number int
}

// Main runs the tests of a package, and ends the server that they have started. Their TestMain exits
// with its result.
func Main(m *testing.M) int {
	defer func() {
		if postgres.server != nil {
			postgres.server.Stop()
		}
	}()
	return m.Run()
}

// NewDatabase returns the URL of an empty database. It skips the test where Postgres is not
// installed.
func NewDatabase(t testing.TB) string {
	t.Helper()
	postgres.once.Do(func() { postgres.server, postgres.err = StartServer(context.Background(), "fsync=off") })
	if errors.Is(postgres.err, ErrMissing) {
		t.Skip(postgres.err)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	postgres.number++
	location, err := postgres.server.Create(t.Context(), fmt.Sprintf("shoal%d", postgres.number))
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// Exec carries out statements in a database, each by itself.
func Exec(t testing.TB, location string, statements ...string) {
	t.Helper()
	if err := execute(t.Context(), location, statements...); err != nil {
		t.Fatal(err)
	}
}
