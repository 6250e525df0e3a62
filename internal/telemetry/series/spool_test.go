package series

import (
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// version1 is the schema as the first version made it.
var version1 = strings.NewReplacer("	n       INTEGER NOT NULL DEFAULT 0, -- ascending, in the order of the writes\n", "",
	ordered, "PRAGMA user_version = 1;").Replace(schema)

// sampleAt is a sample n minutes after an hour ago.
func sampleAt(n int) shoal.Sample {
	at := time.Now().Truncate(time.Hour).Add(time.Duration(n-60) * time.Minute).UTC()
	return shoal.Sample{Metrics: shoal.Metrics{Time: at, CPUCount: 1, MemUsed: int64(n)}}
}

// uncopied returns the samples that are still to be copied, and marks them.
func uncopied(t *testing.T, d *Disk, rows int) (text string) {
	t.Helper()
	list, mark, err := d.Uncopied(t.Context(), rows, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		text += fmt.Sprintf(" %s/%s:%d", one.TeamID, one.SandboxID, one.Sample.MemUsed)
	}
	if len(list) > 0 {
		if err := d.Copied(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

// TestUncopied: each sample is to be copied once, whatever goes meanwhile, and those that an earlier
// version has kept.
func TestUncopied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.ExecContext(t.Context(), version1); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{2, 1} {
		at := sampleAt(n)
		if _, err := old.ExecContext(t.Context(), `INSERT INTO kept VALUES ('one', 'team', 0, 0) ON CONFLICT DO NOTHING;
			INSERT INTO blocks VALUES ('one', ?, ?, ?)`, at.Time.UnixMilli(), at.Time.UnixMilli(), encode([]shoal.Sample{at})); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(t.Context(), path) // which does not begin with an empty one
	if err != nil {
		t.Fatal(err)
	}
	defer func() { d.Close() }()
	add := func(sandboxID string, numbers ...int) {
		t.Helper()
		b := Batch{Source: Source{SandboxID: sandboxID, TeamID: "team"}}
		for _, n := range numbers {
			b.Samples = append(b.Samples, sampleAt(n))
		}
		if err := d.Append(t.Context(), []Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	if got := uncopied(t, d, 1); got != " team/one:1" {
		t.Errorf("of the version before, one: %q", got)
	}
	add("two", 3, 4, 5)
	if got := uncopied(t, d, 2); got != " team/one:2 team/two:3 team/two:4 team/two:5" {
		t.Errorf("with the whole block: %q", got)
	}
	if got := uncopied(t, d, 10); got != "" {
		t.Errorf("copied already: %q", got)
	}
	if err := d.Tidy(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	add("two", 6) // its number is not one of those that have gone
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDisk(t.Context(), path, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.db.ExecContext(t.Context(), `UPDATE blocks SET samples = x'ff'`); err != nil {
		t.Fatal(err)
	}
	if got := uncopied(t, d, 10); got != "" {
		t.Errorf("of a damaged block: %q", got)
	}
	add("two", 7)
	if got := uncopied(t, d, 10); got != " team/two:7" {
		t.Errorf("after a damaged block: %q", got)
	}
}
