package store

import (
	"os"
	"path/filepath"
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
	t.Run("postgres", func(t *testing.T) { scenario(t, storetest.NewDatabase(t)) })
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

// TestMain ends the server that tests have started.
func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }
