package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"shoal/internal/store/storetest"
)

var updateSchema = os.Getenv("UPDATE_SCHEMA") != ""

// forEachEngine runs a scenario on a fresh SQLite database and, where Debian's
// server is installed, on a fresh Postgres database.
func forEachEngine(t *testing.T, scenario func(t *testing.T, location string)) {
	t.Run("sqlite", func(t *testing.T) {
		scenario(t, filepath.Join(t.TempDir(), "dir with space", "shoal.db"))
	})
	t.Run("postgres", func(t *testing.T) { scenario(t, newPostgresDatabase(t)) })
}

func openStore(t *testing.T, location string) *Store {
	t.Helper()
	s, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// postgres is the test binary's private server, started on first use and ended
// by TestMain.
var postgres struct {
	once   sync.Once
	server *storetest.Postgres
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if postgres.server != nil {
		postgres.server.Stop()
	}
	os.Exit(code)
}

func newPostgresDatabase(t *testing.T) string {
	t.Helper()
	postgres.once.Do(func() { postgres.server, postgres.err = storetest.Start() })
	if errors.Is(postgres.err, storetest.ErrMissing) {
		t.Skip(postgres.err)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	location, err := postgres.server.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return location
}
