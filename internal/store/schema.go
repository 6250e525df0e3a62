package store

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"shoal/internal/shoal"
)

// column is a column as the database describes it. Its kind is text, bigint, boolean,
// or the engine's name for any other type.
type column struct {
	table, name, kind string
	notNull           bool
}

// index is identified by what it covers, because index names differ between engines.
type index struct {
	table, columns string
	unique         bool
}

// schema maps a table, column or index to its properties, for example
// "column teams.slug" to "text not null".
type schema map[string]string

// expectedSchema is what a migrated database must contain, one entry of schema per line.
// TestSchemaFile compares it with a fresh database.
//
//go:embed schema.txt
var expectedSchema string

// SchemaError lists the tables, columns and indexes in which a database differs from
// what this version expects.
type SchemaError struct {
	Engine      string
	Differences []string
}

// Error lists the differences.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("of the %s database: %s", e.Engine, strings.Join(e.Differences, "; "))
}

// drifted is the error for a schema that differs.
func drifted(engine string, differences []string) error {
	return shoal.ErrDatabaseSchema.Wrap(&SchemaError{Engine: engine, Differences: differences},
		"The schema is not what its migrations make, so nothing was touched")
}

// verify compares the database with expectedSchema. The migration table alone is not
// proof: someone may have altered a table or restored only part of a dump.
func verify(ctx context.Context, eng engine) error {
	have, err := describe(ctx, eng)
	if err != nil {
		return fmt.Errorf("read the %s schema: %w", eng.name, err)
	}
	if diffs := parseSchema(expectedSchema).differences(have); len(diffs) > 0 {
		return drifted(eng.name, diffs)
	}
	return nil
}

// describe reads the tables, columns and indexes that the database has.
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

// differences lists what is wrong with the database. The operator may add tables and
// non-unique indexes. Extra columns and unique indexes on our tables are reported,
// because they can make our writes fail.
func (want schema) differences(have schema) []string {
	var diffs []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		got, ok := have[key]
		switch {
		case !ok && !strings.HasPrefix(key, "table ") && !have.hasTableOf(key):
			// The missing table is already reported.
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

// tableOf returns the table that a key of schema belongs to.
func tableOf(key string) string {
	_, rest, _ := strings.Cut(key, " ")
	if i := strings.IndexAny(rest, ".("); i >= 0 {
		return rest[:i]
	}
	return rest
}

// text renders a schema in the format of schema.txt.
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
