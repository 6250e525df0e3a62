package sandboxlog

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// version1 are the tables as the first version made them.
const version1 = `
CREATE TABLE lines (
	sandbox TEXT NOT NULL,
	team    TEXT NOT NULL,
	at      INTEGER NOT NULL,
	level   TEXT NOT NULL,
	message TEXT NOT NULL,
	line    TEXT NOT NULL
);
CREATE INDEX lines_of_sandbox ON lines (sandbox, at);
CREATE INDEX lines_by_age ON lines (at);
PRAGMA user_version = 1;`

// TestUpgrade: lines of version 1 are kept, in their order, and counted.
func TestUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.ExecContext(t.Context(), version1); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Minute).UnixMicro()
	for _, message := range []string{"first", "sécond", "third"} {
		line := fmt.Sprintf(`{"logger":"orchestrator","message":%q}`, message)
		if _, err := old.ExecContext(t.Context(), `INSERT INTO lines VALUES ('one', 'team', ?, 'info', ?, ?)`,
			at, message, line); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time it is of this version
		s := openAt(t, path)
		list := query(t, s, "one", shoal.LogQuery{})
		if messages(list) != "first sécond third" || list[0].Fields["logger"] != "orchestrator" {
			t.Errorf("%+v", list)
		}
		want := 0
		for _, e := range list {
			want += costOf(e)
		}
		if n := count(t, s, `SELECT bytes FROM total`); n != int64(want) {
			t.Errorf("%d bytes are counted, want %d", n, want)
		}
		if n := count(t, s, `SELECT lines FROM kept WHERE sandbox = 'one'`); n != 3 {
			t.Errorf("%d lines are counted", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openAt(t, path)
	add(t, s, source("one"), `{"message":"new"}`)
	if got := messages(query(t, s, "one", shoal.LogQuery{})); got != "first sécond third new" {
		t.Errorf("%q", got)
	}
}

// TestFailedUpgrade: what cannot be carried over is replaced by an empty database.
func TestFailedUpgrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.ExecContext(t.Context(), `CREATE TABLE lines (x); PRAGMA user_version = 1`); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	add(t, s, source("one"), `{"message":"new"}`)
	if got := messages(query(t, s, "one", shoal.LogQuery{})); got != "new" {
		t.Errorf("%q", got)
	}
}
