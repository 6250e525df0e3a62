package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
	t.Run("postgres", func(t *testing.T) { scenario(t, storetest.NewDatabase(t)) })
}

// migrated is a new SQLite database, which is copied because its migrations take long where SQLite is
// watched by the race detector.
var migrated struct {
	sync.Once
	file []byte
}

// openStore opens a store, and makes it first if it is not there.
func openStore(t *testing.T, location string) *Store {
	t.Helper()
	if _, err := os.Stat(location); errors.Is(err, fs.ErrNotExist) && !strings.Contains(location, "://") {
		copyMigrated(t, location)
	}
	return open(t, location)
}

func copyMigrated(t *testing.T, location string) {
	t.Helper()
	migrated.Do(func() {
		path := filepath.Join(t.TempDir(), "migrated.db")
		if err := open(t, path).Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if migrated.file, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.MkdirAll(filepath.Dir(location), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(location, migrated.file, 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, location string) *Store {
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
