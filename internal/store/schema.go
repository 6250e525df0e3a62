package store

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// column is one column as the database itself describes it. Its kind is text,
// bigint or boolean, or the engine's own name for anything else.
type column struct {
	table, name, kind string
	notNull           bool
}

// index is one index by what it covers; names differ between engines.
type index struct {
	table, columns string
	unique         bool
}

// schema maps a table, column or index to its properties, for example
// "column teams.slug" to "text not null".
type schema map[string]string

// expectedSchema is what a migrated database must really contain, one line of
// schema each. TestSchemaFile compares it with a fresh database.
//
//go:embed schema.txt
var expectedSchema string

// SchemaError says in which tables, columns and indexes a database differs from
// what this version expects.
type SchemaError struct {
	Engine      string
	Differences []string
}

// Error lists the differences.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("the %s database is not what this version expects, so nothing was touched (restore a backup, or start with an empty database): %s",
		e.Engine, strings.Join(e.Differences, "; "))
}

// verify compares the database with expectedSchema. The migration table alone
// proves nothing: someone may have restored half a dump or altered a table.
func verify(ctx context.Context, eng engine) error {
	have, err := describe(ctx, eng)
	if err != nil {
		return fmt.Errorf("read the %s schema: %w", eng.name, err)
	}
	if diffs := parseSchema(expectedSchema).differences(have); len(diffs) > 0 {
		return &SchemaError{Engine: eng.name, Differences: diffs}
	}
	return nil
}

// describe reads the tables, columns and indexes that really are there.
func describe(ctx context.Context, eng engine) (schema, error) {
	columns, err := eng.columns(ctx, eng.db)
	if err != nil {
		return nil, err
	}
	indexes, err := eng.indexes(ctx, eng.db)
	if err != nil {
		return nil, err
	}
	s := schema{}
	for _, c := range columns {
		s["table "+c.table] = ""
		s["column "+c.table+"."+c.name] = c.kind
		if c.notNull {
			s["column "+c.table+"."+c.name] += " not null"
		}
	}
	for _, i := range indexes {
		kind := "index "
		if i.unique {
			kind = "unique "
		}
		s[kind+i.table+"("+i.columns+")"] = ""
	}
	return s, nil
}

// differences names what the database has wrongly. Foreign tables and further
// plain indexes are the operator's business; further columns and unique indexes
// of our tables are not, for they can make writes fail.
func (want schema) differences(have schema) []string {
	var diffs []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		got, ok := have[key]
		switch {
		case !ok && !strings.HasPrefix(key, "table ") && !have.hasTableOf(key):
			// The missing table is named already.
		case !ok:
			diffs = append(diffs, key+" is missing")
		case got != want[key]:
			diffs = append(diffs, fmt.Sprintf("%s is %q, not %q", key, got, want[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		_, known := want[key]
		_, ours := want["table "+tableOf(key)]
		if !known && ours && !strings.HasPrefix(key, "index ") {
			diffs = append(diffs, key+" is unknown")
		}
	}
	return diffs
}

func (have schema) hasTableOf(key string) bool {
	_, ok := have["table "+tableOf(key)]
	return ok
}

// tableOf returns the table in a key of schema.
func tableOf(key string) string {
	_, rest, _ := strings.Cut(key, " ")
	if i := strings.IndexAny(rest, ".("); i >= 0 {
		return rest[:i]
	}
	return rest
}

// text renders a schema as schema.txt has it.
func (s schema) text() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s)) {
		b.WriteString(strings.TrimSuffix(key+": "+s[key], ": ") + "\n")
	}
	return b.String()
}

func parseSchema(text string) schema {
	s := schema{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		s[key] = value
	}
	return s
}
