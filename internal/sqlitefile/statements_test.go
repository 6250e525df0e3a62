package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"modernc.org/sqlite"
)

func open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "db"), Volatile, 1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := db.Exec("CREATE TABLE pairs (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX bs ON pairs (b)"); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if _, err := db.Exec("INSERT INTO pairs VALUES (?, ?)", n, fmt.Sprint("b", n)); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// kept returns how many statements the only connection keeps.
func kept(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error { n = len(c.(*connection).idle); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func text(t *testing.T, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string, args ...any) string {
	t.Helper()
	var s string
	if err := q.QueryRowContext(t.Context(), query, args...).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStatementsInUse: rows that are open are not disturbed by the same query.
func TestStatementsInUse(t *testing.T) {
	db := open(t)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	const query = "SELECT b FROM pairs WHERE a >= ? ORDER BY a"
	rows, err := tx.Query(query, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var b string
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		got = append(got, b+text(t, tx, query, 2))
	}
	if err := rows.Err(); err != nil || strings.Join(got, " ") != "b0b2 b1b2 b2b2" {
		t.Errorf("%v %v", got, err)
	}
}

// TestStatementsAndSchema: a kept statement sees columns that were added and an index that is gone.
func TestStatementsAndSchema(t *testing.T) {
	db := open(t)
	const all, one = "SELECT * FROM pairs WHERE a = ?", "SELECT a FROM pairs WHERE b = ?"
	var a int
	var b, c string
	for _, change := range []string{"DROP INDEX bs", "ALTER TABLE pairs ADD COLUMN c TEXT DEFAULT 'c'"} {
		if err := db.QueryRow(all, 1).Scan(&a, &b); err != nil || b != "b1" {
			t.Errorf("before %q: %q %v", change, b, err)
		}
		if got := text(t, db, one, "b2"); got != "2" {
			t.Errorf("before %q: %q", change, got)
		}
		if _, err := db.Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.QueryRow(all, 1).Scan(&a, &b, &c); err != nil || b != "b1" || c != "c" {
		t.Errorf("%d %q %q %v", a, b, c, err)
	}
	if got := text(t, db, one, "b2"); got != "2" {
		t.Error(got)
	}
}

// TestStatementsAfterErrors: an error leaves nothing behind, and is as plain as the driver's.
func TestStatementsAfterErrors(t *testing.T) {
	db := open(t)
	before := kept(t, db)
	for range 2 {
		_, err := db.Exec("INSERT INTO pairs VALUES (?, ?)", 1, "again")
		var failed *sqlite.Error
		if !errors.As(err, &failed) || strings.Count(err.Error(), "UNIQUE") != 1 {
			t.Errorf("a key twice: %v", err)
		}
	}
	if _, err := db.Exec("SELECT nothing"); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.QueryRowContext(ctx, "SELECT b FROM pairs").Scan(new(string)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := kept(t, db); n >= before {
		t.Errorf("%d statements are kept, of %d before the errors", n, before)
	}
	if got := text(t, db, "SELECT count(*) FROM pairs"); got != "3" {
		t.Error(got)
	}
}

// TestStatementsAreBounded: texts that differ each time do not pile up.
func TestStatementsAreBounded(t *testing.T) {
	db := open(t)
	for n := range 3 * keptStatements {
		if got := text(t, db, fmt.Sprintf("SELECT %d", n)); got != fmt.Sprint(n) {
			t.Fatal(got)
		}
		if n := kept(t, db); n > keptStatements {
			t.Fatalf("%d statements are kept", n)
		}
	}
}

// BenchmarkKeptStatements is a query by a statement that is kept, and by one that is not.
func BenchmarkKeptStatements(b *testing.B) {
	const query = "SELECT b FROM pairs WHERE a = ? AND b > ? AND b < ? ORDER BY b LIMIT 1"
	for name, fresh := range map[string]bool{"kept": false, "fresh": true} {
		b.Run(name, func(b *testing.B) {
			db := open(b)
			conn, err := db.Conn(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			for b.Loop() {
				if fresh {
					err := conn.Raw(func(c any) error { return c.(*connection).drop() })
					if err != nil {
						b.Fatal(err)
					}
				}
				var s string
				if err := conn.QueryRowContext(b.Context(), query, 1, "a", "c").Scan(&s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
