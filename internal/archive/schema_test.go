package archive

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"shoal/internal/clickhouse"
	"shoal/internal/clickhouse/clickhousetest"
)

var days = Days{Events: 365, Metrics: 30, Logs: 20}

func made(t *testing.T, db *clickhouse.Client, table string) (statement string) {
	t.Helper()
	type row struct{ Q string }
	err := clickhouse.Select(t.Context(), db, "SELECT create_table_query AS Q FROM system.tables WHERE database = {d:String} AND name = {n:String}",
		clickhouse.Params{"d": db.Database(), "n": table}, func(r row) error {
			statement = r.Q
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return statement
}

// TestPrepare: tables are made once, follow the configured days, and what is not as it should be is
// named and left alone.
func TestPrepare(t *testing.T) {
	db := clickhousetest.Start(t).Client("shoal")
	log := slog.New(slog.DiscardHandler)
	again := 0
	onMade := func(context.Context) error { again++; return nil }

	failing := New(db, days, func(context.Context) error { return errors.New("not now") }, log)
	if err := failing.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Fatalf("although nobody copies again: %v", err)
	}
	for range 2 {
		if err := New(db, days, onMade, log).Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if again != 1 {
		t.Errorf("everything was copied again %d times", again)
	}
	if got := made(t, db, linesTable); !strings.Contains(got, "toIntervalDay(20)") {
		t.Errorf("lines are kept otherwise: %s", got)
	}
	if err := New(db, Days{1, 2, 3}, onMade, log).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]string{eventsTable: "greatest(toDateTime(at) + toIntervalDay(1), kept_until)",
		samplesTable: "toIntervalDay(2)", linesTable: "toIntervalDay(3)",
		connectionsTable: "toIntervalDay(3)"} {
		if got := made(t, db, table); !strings.Contains(got, want) {
			t.Errorf("%s is kept otherwise: %s", table, got)
		}
	}

	found, err := Look(t.Context(), db)
	if err != nil || found.Version != int64(len(migrations)) || found.Server == "" {
		t.Errorf("a look tells %+v, %v", found, err)
	}
	for _, sql := range []string{"ALTER TABLE sandbox_logs DROP COLUMN level", "DROP TABLE sandbox_metrics",
		"INSERT INTO schema_versions (version) VALUES (99)"} {
		if err := db.Exec(t.Context(), sql, nil); err != nil {
			t.Fatal(err)
		}
		_, looked := Look(t.Context(), db)
		for _, err := range []error{New(db, days, onMade, log).Prepare(t.Context()), looked} {
			if err == nil || clickhouse.Is(err, clickhouse.CodeUnknownTable) {
				t.Errorf("after %q: %v", sql, err)
			}
		}
	}
}

// TestExpiry: rows go after their days, and events not before their team's.
func TestExpiry(t *testing.T) {
	db := clickhousetest.Start(t).Client("shoal")
	a := New(db, days, nil, slog.New(slog.DiscardHandler))
	if err := a.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`INSERT INTO sandbox_logs (sandbox_id, at, number) SELECT 'a', now() - INTERVAL number DAY, number FROM numbers(40)`,
		`INSERT INTO sandbox_metrics (sandbox_id, at) SELECT 'a', now() - INTERVAL number DAY FROM numbers(40)`,
		`INSERT INTO sandbox_events (sandbox_id, at, kept_until) SELECT 'a', now() - INTERVAL 400 DAY, now() + INTERVAL number - 1 DAY FROM numbers(3)`,
		`INSERT INTO sandbox_events (sandbox_id, at, number) SELECT 'b', now() - INTERVAL 300 DAY, 1`,
		`INSERT INTO sandbox_connections (sandbox_id, at) SELECT 'a', now() - INTERVAL number DAY FROM numbers(40)`,
		`OPTIMIZE TABLE sandbox_connections FINAL`, `OPTIMIZE TABLE sandbox_logs FINAL`, `OPTIMIZE TABLE sandbox_metrics FINAL`, `OPTIMIZE TABLE sandbox_events FINAL`,
	} {
		if err := db.Exec(t.Context(), sql, nil); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	type row struct{ N int }
	for table, want := range map[string]int{linesTable: 20, connectionsTable: 20, samplesTable: 30, eventsTable: 2} {
		err := clickhouse.Select(t.Context(), db, "SELECT count() AS N FROM "+table, nil, func(r row) error {
			if r.N != want {
				t.Errorf("%s has %d rows, want %d", table, r.N, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
