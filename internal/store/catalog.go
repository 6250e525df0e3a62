package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// These queries read each engine's system catalog. They are the only queries that are
// not portable. They leave out goose's table.

func sqliteColumns(ctx context.Context, db *sql.DB) ([]column, error) {
	return scanColumns(ctx, db, `
		SELECT m.name, c.name, lower(c.type), c."notnull" <> 0
		FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version'`)
}

func sqliteIndexes(ctx context.Context, db *sql.DB) ([]index, error) {
	return scanIndexes(ctx, db, `
		SELECT m.name, il.name, il."unique" <> 0, coalesce(ii.name, '<expression>')
		FROM sqlite_master m JOIN pragma_index_list(m.name) il JOIN pragma_index_info(il.name) ii
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'goose_db_version'
		ORDER BY m.name, il.name, ii.seqno`)
}

func postgresColumns(ctx context.Context, db *sql.DB) ([]column, error) {
	return scanColumns(ctx, db, `
		SELECT table_name, column_name, data_type, is_nullable = 'NO'
		FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name <> 'goose_db_version'`)
}

func postgresIndexes(ctx context.Context, db *sql.DB) ([]index, error) {
	return scanIndexes(ctx, db, `
		SELECT t.relname, i.relname, x.indisunique, coalesce(a.attname, '<expression>')
		FROM pg_index x
		JOIN pg_class t ON t.oid = x.indrelid
		JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_namespace n ON n.oid = t.relnamespace
		CROSS JOIN LATERAL unnest(x.indkey::smallint[]) WITH ORDINALITY AS k(attnum, seq)
		LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0
		WHERE n.nspname = current_schema() AND t.relname <> 'goose_db_version' AND x.indisvalid
		ORDER BY t.relname, i.relname, k.seq`)
}

func scanColumns(ctx context.Context, db *sql.DB, query string) ([]column, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the columns: %w", err)
	}
	defer rows.Close()
	var list []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.table, &c.name, &c.kind, &c.notNull); err != nil {
			return nil, fmt.Errorf("read a column: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// scanIndexes reads rows of (table, index, unique, column), sorted by index and by the
// column's position in it.
func scanIndexes(ctx context.Context, db *sql.DB, query string) ([]index, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the indexes: %w", err)
	}
	defer rows.Close()
	var list []index
	last := ""
	for rows.Next() {
		var table, name, col string
		var unique bool
		if err := rows.Scan(&table, &name, &unique, &col); err != nil {
			return nil, fmt.Errorf("read an index: %w", err)
		}
		if key := table + "." + name; key != last {
			list, last = append(list, index{table: table, unique: unique}), key
		}
		i := &list[len(list)-1]
		i.columns = strings.TrimPrefix(i.columns+","+col, ",")
	}
	return list, rows.Err()
}
