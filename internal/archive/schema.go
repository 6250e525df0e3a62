package archive

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"shoal/internal/clickhouse"
)

// The tables. Rows with equal keys are one row, whichever came last or counts more, so a batch may come twice.
// Partitions are weeks, so that what is too old goes by whole parts.

const (
	eventsTable      = "sandbox_events"
	samplesTable     = "sandbox_metrics"
	linesTable       = "sandbox_logs"
	connectionsTable = "sandbox_connections"
)

// migrations bring a database from each version to the next. They can be repeated, and only add:
// machines of the version before go on writing.
var migrations = [][]string{{
	`CREATE TABLE IF NOT EXISTS sandbox_events (
	team_id      String,
	at           DateTime64(6, 'UTC'),
	sandbox_id   String,
	number       Int64,
	id           String,
	type         LowCardinality(String),
	execution_id String,
	template_id  String,
	build_id     String,
	data         String CODEC(ZSTD),
	kept_until   DateTime('UTC'), -- it stays at least as long as the team's events are kept
	INDEX by_sandbox sandbox_id TYPE bloom_filter GRANULARITY 1
) ENGINE = ReplacingMergeTree PARTITION BY toMonday(at) ORDER BY (team_id, at, sandbox_id, number)`,
	`CREATE TABLE IF NOT EXISTS sandbox_metrics (
	sandbox_id        String,
	at                DateTime64(3, 'UTC'),
	team_id           String,
	cpu_count         Int64, -- 0 if the guest was silent
	cpu_used_pct      Float64,
	mem_used          Int64,
	mem_total         Int64,
	mem_cache         Int64,
	disk_used         Int64,
	disk_total        Int64,
	host_cpu_used_pct Float64,
	host_mem          Int64,
	host_mem_held     Int64,
	host_disk         Int64
) ENGINE = ReplacingMergeTree PARTITION BY toMonday(at) ORDER BY (sandbox_id, at)`,
	`CREATE TABLE IF NOT EXISTS sandbox_logs (
	sandbox_id String,
	at         DateTime64(6, 'UTC'),
	spool      LowCardinality(String), -- the machine's database, and the line's number in it
	number     Int64,
	team_id    String,
	level      LowCardinality(String),
	message    String CODEC(ZSTD),
	line       String CODEC(ZSTD)
) ENGINE = ReplacingMergeTree PARTITION BY toMonday(at) ORDER BY (sandbox_id, at, spool, number)`,
}, {
	`CREATE TABLE IF NOT EXISTS sandbox_connections (
	sandbox_id String,
	at         DateTime('UTC'), -- the minute
	target     String,
	port       UInt16,
	outcome    LowCardinality(String),
	team_id    String,
	count      Int64
) ENGINE = ReplacingMergeTree(count) PARTITION BY toMonday(at) ORDER BY (sandbox_id, at, target, port, outcome)`,
}}

// columns are what the tables have after the last migration, as system.columns tells it.
var columns = map[string][]string{
	eventsTable: {"team_id String", "at DateTime64(6, 'UTC')", "sandbox_id String", "number Int64", "id String",
		"type LowCardinality(String)", "execution_id String", "template_id String", "build_id String", "data String",
		"kept_until DateTime('UTC')"},
	samplesTable: {"sandbox_id String", "at DateTime64(3, 'UTC')", "team_id String", "cpu_count Int64",
		"cpu_used_pct Float64", "mem_used Int64", "mem_total Int64", "mem_cache Int64", "disk_used Int64",
		"disk_total Int64", "host_cpu_used_pct Float64", "host_mem Int64", "host_mem_held Int64", "host_disk Int64"},
	linesTable: {"sandbox_id String", "at DateTime64(6, 'UTC')", "spool LowCardinality(String)", "number Int64",
		"team_id String", "level LowCardinality(String)", "message String", "line String"},
	connectionsTable: {"sandbox_id String", "at DateTime('UTC')", "target String", "port UInt16",
		"outcome LowCardinality(String)", "team_id String", "count Int64"},
}

const versionsTable = `CREATE TABLE IF NOT EXISTS schema_versions (
	version Int64,
	at      DateTime('UTC') DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY version`

// prepare makes the tables of this version, checks them, and has what is too old removed from them.
func prepare(ctx context.Context, db *clickhouse.Client, days Days, onMade func(context.Context) error) error {
	version, err := versionOf(ctx, db)
	if err != nil {
		return err
	}
	if version > int64(len(migrations)) {
		return errLater(db, version)
	}
	for ; version < int64(len(migrations)); version++ {
		for _, sql := range migrations[version] {
			if err := db.Exec(ctx, sql, nil); err != nil {
				return fmt.Errorf("bring the tables to version %d: %w", version+1, err)
			}
		}
		if version == 0 && onMade != nil {
			if err := onMade(ctx); err != nil {
				return fmt.Errorf("have everything copied to new tables: %w", err)
			}
		}
		if err := db.Exec(ctx, "INSERT INTO schema_versions (version) SELECT {version:Int64}",
			clickhouse.Params{"version": version + 1}); err != nil {
			return fmt.Errorf("note version %d of the tables: %w", version+1, err)
		}
	}
	if err := verify(ctx, db); err != nil {
		return err
	}
	return setTTL(ctx, db, days)
}

// versionOf returns the version of the tables; 0 is none yet.
func versionOf(ctx context.Context, db *clickhouse.Client) (version int64, err error) {
	err = db.Exec(ctx, versionsTable, nil)
	if clickhouse.Is(err, clickhouse.CodeUnknownDatabase) {
		if err = db.MakeDatabase(ctx); err == nil {
			err = db.Exec(ctx, versionsTable, nil)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("look which version the tables have: %w", err)
	}
	type row struct{ Version int64 }
	err = clickhouse.Select(ctx, db, "SELECT max(version) AS version FROM schema_versions", nil, func(r row) error {
		version = r.Version
		return nil
	})
	return version, err
}

// verify compares the tables' columns with those of this version.
func verify(ctx context.Context, db *clickhouse.Client) error {
	type column struct{ Table, Name, Type string }
	found := map[string][]string{}
	err := clickhouse.Select(ctx, db, `SELECT table, name, type FROM system.columns
WHERE database = {db:String} ORDER BY table, position`, clickhouse.Params{"db": db.Database()}, func(c column) error {
		found[c.Table] = append(found[c.Table], c.Name+" "+c.Type)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what the tables are like: %w", err)
	}
	for _, table := range []string{eventsTable, samplesTable, linesTable, connectionsTable} {
		for _, want := range columns[table] {
			if !slices.Contains(found[table], want) {
				return fmt.Errorf("table %s.%s has no column %s; it is not as Shoal has made it",
					db.Database(), table, want)
			}
		}
	}
	return nil
}

// setTTL has rows removed after as many days as are wanted now. The server changes nothing that is
// as it should be, and what is there already when it merges it the next time.
func setTTL(ctx context.Context, db *clickhouse.Client, days Days) error {
	type table struct{ Name, Made string }
	made := map[string]string{}
	err := clickhouse.Select(ctx, db, `SELECT name, create_table_query AS made FROM system.tables
WHERE database = {db:String}`, clickhouse.Params{"db": db.Database()}, func(t table) error {
		made[t.Name] = t.Made
		return nil
	})
	if err != nil {
		return fmt.Errorf("read how long rows are kept: %w", err)
	}
	for _, t := range []struct{ name, ttl string }{
		{eventsTable, fmt.Sprintf("greatest(toDateTime(at) + toIntervalDay(%d), kept_until)", days.Events)},
		{samplesTable, fmt.Sprintf("toDateTime(at) + toIntervalDay(%d)", days.Metrics)},
		{linesTable, fmt.Sprintf("toDateTime(at) + toIntervalDay(%d)", days.Logs)},
		{connectionsTable, fmt.Sprintf("at + toIntervalDay(%d)", days.Logs)},
	} {
		if strings.Contains(made[t.name], "TTL "+t.ttl) {
			continue
		}
		if err := db.Exec(ctx, "ALTER TABLE "+t.name+" MODIFY TTL "+t.ttl, nil); err != nil {
			return fmt.Errorf("set how long rows of %s are kept: %w", t.name, err)
		}
	}
	return nil
}
