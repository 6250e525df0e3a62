package store

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestSchemaFile compares schema.txt with what the migrations make in each
// engine. UPDATE_SCHEMA=1 rewrites it.
func TestSchemaFile(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		eng, err := openEngine(location)
		if err != nil {
			t.Fatal(err)
		}
		defer eng.db.Close()
		if err := migrate(t.Context(), eng); err != nil {
			t.Fatal(err)
		}
		have, err := describe(t.Context(), eng)
		if err != nil {
			t.Fatal(err)
		}
		if updateSchema {
			if err := os.WriteFile("schema.txt", []byte(have.text()), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if have.text() != expectedSchema {
			t.Errorf("schema.txt differs: %v", parseSchema(expectedSchema).differences(have))
		}
	})
}

func TestOpenRefusesAnotherSchema(t *testing.T) {
	cases := map[string]struct {
		damage string
		names  []string // in the error
		fine   bool
	}{
		"missing column":      {"ALTER TABLE api_keys DROP COLUMN mask_prefix", []string{"column api_keys.mask_prefix is missing"}, false},
		"renamed column":      {"ALTER TABLE teams RENAME COLUMN banned TO barred", []string{"column teams.banned is missing", "column teams.barred is unknown"}, false},
		"missing table":       {"DROP TABLE build_assignments", []string{"table build_assignments is missing"}, false},
		"missing index":       {"DROP INDEX builds_template", []string{"index builds(template_id,created_at) is missing"}, false},
		"other type":          {"DROP TABLE template_aliases; CREATE TABLE template_aliases (namespace INTEGER NOT NULL, name TEXT NOT NULL, template_id TEXT NOT NULL, PRIMARY KEY (namespace, name)); CREATE INDEX template_aliases_template ON template_aliases (template_id)", []string{`column template_aliases.namespace is "integer not null", not "text not null"`}, false},
		"further column":      {"ALTER TABLE teams ADD COLUMN extra TEXT", []string{"column teams.extra is unknown"}, false},
		"further unique":      {"CREATE UNIQUE INDEX one_name ON teams (name)", []string{"unique teams(name) is unknown"}, false},
		"newer version":       {"INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)", []string{"schema version 99"}, false},
		"further plain index": {"CREATE INDEX by_name ON teams (name)", nil, true},
		"foreign table":       {"CREATE TABLE dashboards (id TEXT)", nil, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			forEachEngine(t, func(t *testing.T, location string) {
				openStore(t, location).Close()
				damage(t, location, c.damage)
				s, err := Open(t.Context(), location)
				if err == nil {
					s.Close()
				}
				if c.fine != (err == nil) {
					t.Fatalf("fine=%v, error %v", c.fine, err)
				}
				for _, want := range c.names {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("error %q does not name %q", err, want)
					}
				}
				var diff *SchemaError
				if !c.fine && name != "newer version" && !(errors.As(err, &diff) && len(diff.Differences) == len(c.names)) {
					t.Errorf("want exactly %q, got %v", c.names, err)
				}
			})
		})
	}
}

func damage(t *testing.T, location, statement string) {
	t.Helper()
	eng, err := openEngine(location)
	if err != nil {
		t.Fatal(err)
	}
	defer func(db *sql.DB) { db.Close() }(eng.db)
	if _, err := eng.db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	file := t.TempDir() + "/notes.db"
	if err := os.WriteFile(file, []byte(strings.Repeat("these are notes ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, location := range []string{"mysql://host/db", file, "postgres:///x?host=" + t.TempDir()} {
		if s, err := Open(t.Context(), location); err == nil {
			s.Close()
			t.Errorf("%s was opened", location)
		}
	}
}

func TestSQLiteFileIsPrivate(t *testing.T) {
	path := t.TempDir() + "/private/shoal.db"
	openStore(t, path)
	for _, p := range []string{path, path + "-wal"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
}
