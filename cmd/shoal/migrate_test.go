package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/store/storetest"
)

// refuses fails unless a command ends with an error of the catalogue.
func refuses(t *testing.T, dir, line string, want *shoal.Kind) {
	t.Helper()
	out, err := command(t, dir, line)
	if !want.Matches(err) {
		t.Errorf("%s: got %v after %q, want %s", line, err, out, want.Code)
	}
}

// alter changes a database of the data directory behind Shoal's back.
func alter(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// TestMigrateCommands: what an operator sees of a schema, from none to one that somebody altered.
func TestMigrateCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	schema := func(line string) (s listedSchema) {
		t.Helper()
		out, _ := command(t, dir, line+" --json")
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%s: %v in %q", line, err, out)
		}
		return s
	}
	refuses(t, dir, "migrate status", shoal.ErrDatabaseMissing)
	refuses(t, dir, "migrate verify", shoal.ErrDatabaseMissing)
	must("migrate up")
	if s := schema("migrate status"); s.Version != s.Newest || len(s.Migrations) == 0 || s.Migrations[0].AppliedAt == nil || s.Drift != nil {
		t.Errorf("after all steps: %+v", s)
	}
	if out := must("migrate status"); !strings.Contains(out, "00001_first") || strings.Contains(out, "pending") {
		t.Error(out)
	}
	if out := must("migrate verify"); !strings.Contains(out, "SQLite") {
		t.Error(out)
	}
	alter(t, dir, "ALTER TABLE teams DROP COLUMN banned")
	refuses(t, dir, "migrate verify", shoal.ErrDatabaseSchema)
	refuses(t, dir, "migrate up", shoal.ErrDatabaseSchema)
	out := must("migrate status")
	if !strings.Contains(out, "drift: column teams.banned is missing") || !strings.Contains(out, "lacks column teams.banned") {
		t.Error(out)
	}
	if s := schema("migrate verify"); len(s.Drift) != 1 {
		t.Errorf("with drift: %+v", s)
	}
	alter(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)")
	refuses(t, dir, "migrate verify", shoal.ErrDatabaseNewer)
	refuses(t, dir, "backup -", shoal.ErrDatabaseNewer)
}

// TestDatabaseAddress: what keeps every one of the commands from the database.
func TestDatabaseAddress(t *testing.T) {
	dir := t.TempDir()
	for _, line := range []string{"migrate status", "migrate verify", "migrate up", "backup -"} {
		refuses(t, dir, line+" --database=postgres://127.0.0.1:1/shoal", shoal.ErrDatabaseUnreachable)
	}
	notes := filepath.Join(dir, "notes")
	if err := os.WriteFile(notes, []byte(strings.Repeat("these are notes ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, "migrate status --database="+notes, shoal.ErrDatabaseUnreachable)
}

// TestBackupCommands: a backup of a file comes back in another one and in Postgres, and is refused
// where it could destroy something.
func TestBackupCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	backup := filepath.Join(t.TempDir(), "shoal.backup")
	refuses(t, dir, "backup "+backup, shoal.ErrDatabaseMissing)
	if _, err := os.Stat(filepath.Join(dir, "shoal.db")); err == nil {
		t.Error("a failed backup has made a database")
	}
	must("team create acme")
	if out := must("backup " + backup); !strings.Contains(out, "SQLite") || !strings.Contains(out, "seal-secret") {
		t.Error(out)
	}
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v", info, err)
	}
	refuses(t, dir, "backup "+backup, shoal.ErrBackupExists)
	refuses(t, dir, "restore "+backup, shoal.ErrDatabaseNotEmpty)

	other := t.TempDir()
	if out := commander(t, other)("restore " + backup); !strings.Contains(out, "are restored") {
		t.Error(out)
	}
	if out := commander(t, other)("team list"); !strings.Contains(out, "acme") {
		t.Error(out)
	}
	t.Run("postgres", func(t *testing.T) {
		at := " --database=" + storetest.NewDatabase(t)
		must := commander(t, t.TempDir())
		must("restore " + backup + at)
		if out := must("team list" + at); !strings.Contains(out, "acme") {
			t.Error(out)
		}
		refuses(t, t.TempDir(), "restore "+backup+at, shoal.ErrDatabaseNotEmpty)
		if out := must("migrate verify" + at); !strings.Contains(out, "Postgres") {
			t.Error(out)
		}
	})
}

// TestBadBackupCommands: nothing is left of a backup that cannot be restored, or written.
func TestBadBackupCommands(t *testing.T) {
	dir := t.TempDir()
	must := commander(t, dir)
	must("team create acme")
	good := filepath.Join(t.TempDir(), "good")
	must("backup " + good)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"notes": []byte("notes"), "cut": data[:len(data)-20]} {
		file, to := filepath.Join(t.TempDir(), name), t.TempDir()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, to, "restore "+file, shoal.ErrBackup)
		commander(t, to)("restore " + good) // nothing is in the way
	}
	refuses(t, t.TempDir(), "restore "+filepath.Join(dir, "none"), shoal.ErrBackup)
	if _, err := command(t, dir, "backup "+filepath.Join(dir, "none", "file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a directory that does not exist: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(good), "*.part-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
