package doctor

import (
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/store"
	"shoal/internal/store/storetest"
)

// TestMain lets the test binary stand for shoal where a check starts it, and ends the server that
// tests have started.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		os.Exit(0)
	}
	os.Exit(storetest.Main(m))
}

// find returns the result about something; the zero one if there is none.
func about(results []Result, name string) Result {
	for _, r := range results {
		if r.Name == name {
			return r
		}
	}
	return Result{}
}

func wants(t *testing.T, r Result, level Level, found string) {
	t.Helper()
	if r.Level != level || !strings.Contains(r.Found, found) || (level >= Warn && r.Fix == "") {
		t.Errorf("got %+v, want %v and %q", r, level, found)
	}
}

// migrated makes the schema.
func migrated(t *testing.T, location string) {
	t.Helper()
	st, err := store.Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPostgres: a server that is as it should be, and each thing that can be wrong with it. What a
// server of another age or with another clock would answer, functions answer that come before its
// own.
func TestPostgres(t *testing.T) {
	shadow := func(function string) []string {
		return []string{"CREATE SCHEMA other", function, "ALTER DATABASE %db SET search_path = other, pg_catalog, public"}
	}
	for name, c := range map[string]struct {
		damage []string
		what   string // the result
		level  Level
		found  string
	}{
		"sound":    {nil, "", OK, "answers"},
		"sound 2":  {nil, "clock", OK, "within"},
		"sound 3":  {nil, "version", OK, "Postgres 1"},
		"sound 4":  {nil, "schema", OK, "as its migrations make it"},
		"standby":  {[]string{"ALTER DATABASE %db SET default_transaction_read_only = on"}, "writes", Fail, "nobody write"},
		"ahead":    {shadow("CREATE FUNCTION other.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''"), "clock", Warn, "ahead of"},
		"behind":   {shadow("CREATE FUNCTION other.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() - interval ''1 hour'''"), "clock", Warn, "behind"},
		"old":      {shadow("CREATE FUNCTION other.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT CASE $1 WHEN ''server_version_num'' THEN ''90624'' WHEN ''server_version'' THEN ''9.6.24'' ELSE pg_catalog.current_setting($1) END'"), "version", Warn, "9.6.24"},
		"crowded":  {shadow("CREATE FUNCTION other.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT CASE $1 WHEN ''max_connections'' THEN ''9'' ELSE pg_catalog.current_setting($1) END'"), "connections", Warn, "more connections fit"},
		"drift":    {[]string{"ALTER TABLE teams ADD COLUMN extra TEXT"}, "schema", Fail, "column teams.extra is unknown"},
		"not done": {[]string{"ALTER TABLE teams DROP COLUMN banned"}, "schema", Fail, "lacks column teams.banned"},
		"newer":    {[]string{"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)"}, "schema", Fail, "9999"},
	} {
		t.Run(name, func(t *testing.T) {
			location := storetest.NewDatabase(t)
			migrated(t, location)
			db, _, _ := strings.Cut(strings.TrimPrefix(location, "postgres:///"), "?")
			for _, statement := range c.damage {
				storetest.Exec(t, location, strings.ReplaceAll(statement, "%db", db))
			}
			cfg := settings(t)
			cfg.Database = location
			wants(t, about(askDatabase(t.Context(), cfg), c.what), c.level, c.found)
		})
	}
}

// TestSchemaOfAnEarlierVersion: what is still to be done is no failure.
func TestSchemaOfAnEarlierVersion(t *testing.T) {
	cfg := settings(t)
	cfg.Database = storetest.NewDatabase(t)
	wants(t, about(askDatabase(t.Context(), cfg), "schema"), Note, "version 0 of")
}

// TestDatabaseFile: a file is not made by looking at it, and one that is no database is told.
func TestDatabaseFile(t *testing.T) {
	cfg := settings(t)
	wants(t, askDatabase(t.Context(), cfg)[0], OK, "not there yet")
	if _, err := os.Stat(cfg.DatabaseLocation()); err == nil {
		t.Error("the check has made a database")
	}
	migrated(t, cfg.DatabaseLocation())
	for _, r := range askDatabase(t.Context(), cfg) {
		wants(t, r, OK, "")
	}
	db, err := sql.Open("sqlite", cfg.DatabaseLocation())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TABLE build_assignments"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	wants(t, about(askDatabase(t.Context(), cfg), "schema"), Fail, "table build_assignments")
	cfg.Database = filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(cfg.Database, []byte(strings.Repeat("these are notes ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, askDatabase(t.Context(), cfg)[0], Fail, "not a database")
}

// TestDatabaseThatDoesNotAnswer: the finding names it without its password.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, location := range []string{"postgres://shoal:hunter2@" + l.Addr().String() + "/shoal",
		"postgres://" + l.Addr().String() + "/shoal?user=shoal&password=hunter2",
		"postgres://shoal:hunter2@%zz/"} {
		cfg := settings(t)
		cfg.Database = location
		results := askDatabase(t.Context(), cfg)
		if len(results) != 1 || strings.Contains(results[0].Found, "hunter2") {
			t.Errorf("got %+v", results)
		}
		wants(t, results[0], Fail, "does not answer")
	}
}
