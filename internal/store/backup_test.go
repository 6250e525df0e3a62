package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
)

// fill makes records of many tables, with texts that need care.
func fill(t *testing.T, s *Store) shoal.Team {
	t.Helper()
	team := shoal.Team{ID: "00000000-0000-4000-8000-000000000001", Name: "Tëam \"1\" <\\>\n", Slug: "one",
		Limits: shoal.DefaultTeamLimits(), MayPublish: true}
	if err := s.CreateTeam(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	if err := s.SetMayPublish(t.Context(), team.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := s.UpsertBase(t.Context(), shoal.Build{ID: "00000000-0000-4000-8000-00000000000b", Status: shoal.BuildReady,
		TemplateID: shoal.BaseTemplateID, CreatedAt: time.UnixMicro(1 << 50), ImageDigest: "sha256:x"}, team.ID); err != nil {
		t.Fatal(err)
	}
	v := shoal.Volume{ID: "00000000-0000-4000-8000-00000000000c", TeamID: team.ID, Name: "one", Backend: "local"}
	if err := s.AddVolume(t.Context(), v, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Installation(t.Context()); err != nil {
		t.Fatal(err)
	}
	return team
}

// dump reads every row of every table as text, sorted.
func dump(t *testing.T, location string) []string {
	t.Helper()
	eng, err := openEngine(location)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.db.Close()
	var list []string
	for _, tab := range tablesNow(t) {
		list = append(list, rowsOf(t, eng, tab)...)
	}
	slices.Sort(list)
	return list
}

func rowsOf(t *testing.T, eng engine, tab table) (list []string) {
	t.Helper()
	rows, err := eng.db.QueryContext(t.Context(), "SELECT "+tab.list()+" FROM "+tab.name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		into, read, err := tab.scanners()
		if err == nil {
			err = rows.Scan(into...)
		}
		if err != nil {
			t.Fatal(err)
		}
		row, err := read()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %q", tab.name, row))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func tablesNow(t *testing.T) []table {
	t.Helper()
	ref, err := newReference()
	if err != nil {
		t.Fatal(err)
	}
	defer ref.Close()
	list, err := tablesAt(t.Context(), newestOf(ref.provider))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestBackupRestores writes a backup of each engine, and restores it into both.
func TestBackupRestores(t *testing.T) {
	forEachEngine(t, func(t *testing.T, from string) {
		s := openStore(t, from)
		team := fill(t, s)
		want := dump(t, from)
		if len(want) < 5 {
			t.Fatalf("rows %q", want)
		}
		var file bytes.Buffer
		about, err := WriteBackup(t.Context(), from, &file)
		if err != nil || about.Rows != int64(len(want)) {
			t.Fatalf("%+v %v, want %d rows", about, err, len(want))
		}
		forEachEngine(t, func(t *testing.T, to string) {
			if back, err := Restore(t.Context(), to, bytes.NewReader(file.Bytes())); err != nil || back.Rows != about.Rows {
				t.Fatalf("%+v %v", back, err)
			}
			if got := dump(t, to); !slices.Equal(got, want) {
				t.Errorf("restored\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			restored := openStore(t, to)
			if got, err := restored.Team(t.Context(), team.ID); err != nil || got.Name != team.Name || !got.MayPublish {
				t.Errorf("%+v %v", got, err)
			}
			if _, err := Restore(t.Context(), to, bytes.NewReader(file.Bytes())); err == nil || !strings.Contains(err.Error(), "has records") {
				t.Errorf("restored over records: %v", err)
			}
		})
	})
}

// TestBackupIsOneMoment: what is written while a backup is read is not in it, or all of it.
func TestBackupIsOneMoment(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		s := openStore(t, location)
		fill(t, s)
		eng, err := openEngine(location)
		if err != nil {
			t.Fatal(err)
		}
		defer eng.db.Close()
		tx, err := eng.beginRead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		count := func() (n int) {
			if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM teams").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := count()
		// A reader must not keep anybody from writing, either.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.CreateTeam(ctx, shoal.Team{ID: "00000000-0000-4000-8000-000000000002", Name: "2", Slug: "two"}); err != nil {
			t.Fatal(err)
		}
		if after := count(); after != before {
			t.Errorf("%d teams, then %d", before, after)
		}
	})
}

// TestBadBackups: nothing is restored of a backup that is not whole, or from elsewhere.
func TestBadBackups(t *testing.T) {
	from := filepath.Join(t.TempDir(), "shoal.db")
	fill(t, openStore(t, from))
	var file bytes.Buffer
	if _, err := WriteBackup(t.Context(), from, &file); err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	without := func(i int) []byte { return zip(t, strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")) }
	lastRow := len(lines) - 3 // before the end, and what follows the last line break
	if !strings.Contains(lines[lastRow], `"row"`) {
		lastRow = slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"row"`) })
	}
	fresh := filepath.Join(t.TempDir(), "fresh.db")
	openStore(t, fresh)
	made := dump(t, fresh)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"no gzip":          {[]byte("hello"), "no backup"},
		"something else":   {zip(t, `{"format":"x"}`), "no backup"},
		"a later form":     {zip(t, strings.Replace(string(text), `"version":1`, `"version":2`, 1)), "the form 2"},
		"a later schema":   {zip(t, strings.Replace(string(text), `"schema":`, `"schema":9`, 1)), "knows up to"},
		"cut off":          {file.Bytes()[:file.Len()-20], "cut off"},
		"without its end":  {zip(t, strings.Join(lines[:len(lines)-2], "")), "cut off"},
		"a row less":       {without(lastRow), "says that it has"},
		"more after it":    {zip(t, string(text)+"{}"), "does not end"},
		"an unknown table": {zip(t, strings.Replace(string(text), `"table":"teams"`, `"table":"tables"`, 1)), "not that of its schema"},
		"a damaged byte":   {damaged(file.Bytes()), "does not end"},
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "shoal.db")
			if _, err := Restore(t.Context(), to, bytes.NewReader(c.data)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if c.want == "no backup" || c.want == "the form 2" || c.want == "knows up to" {
				return // nothing was opened, or made
			}
			if rows := dump(t, to); !slices.Equal(rows, made) {
				t.Errorf("rows %q, a new database has %q", rows, made)
			}
		})
	}
}

func zip(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// damaged turns a bit of gzip's checksum, so that all lines can be read.
func damaged(data []byte) []byte {
	other := slices.Clone(data)
	other[len(other)-8] ^= 1
	return other
}

// TestInspect: what a database says of its schema, and what is wrong with it, without a change.
func TestInspect(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		eng, err := openEngine(location)
		if err != nil {
			t.Fatal(err)
		}
		defer eng.db.Close()
		provider, err := newProvider(eng)
		if err != nil {
			t.Fatal(err)
		}
		newest := newestOf(provider)
		look := func() Inspection {
			t.Helper()
			found, err := inspect(t.Context(), eng)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if found := look(); found.Version != 0 || found.Newest != newest || found.Err() != nil || len(found.Migrations) != int(newest) {
			t.Errorf("an empty database: %+v", found)
		}
		if _, err := provider.UpTo(t.Context(), newest-1); err != nil {
			t.Fatal(err)
		}
		found := look()
		last := found.Migrations[len(found.Migrations)-1]
		if found.Version != newest-1 || found.Err() != nil || !last.AppliedAt.IsZero() || found.Migrations[0].AppliedAt.IsZero() {
			t.Errorf("before the last migration: %+v", found)
		}
		// It is marked as done, and is not.
		damage(t, location, fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, TRUE)", newest))
		found = look()
		last = found.Migrations[len(found.Migrations)-1]
		if found.Err() == nil || len(last.Missing) == 0 || len(found.Migrations[0].Missing) != 0 {
			t.Errorf("with a mark for nothing: %+v", found)
		}
		if s, err := Open(t.Context(), location); err == nil {
			s.Close()
			t.Error("the database was opened")
		}
	})
}

// TestDriftStopsMigrations: a schema that is not what it is held for is not migrated.
func TestDriftStopsMigrations(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		eng, err := openEngine(location)
		if err != nil {
			t.Fatal(err)
		}
		defer eng.db.Close()
		provider, err := newProvider(eng)
		if err != nil {
			t.Fatal(err)
		}
		newest := newestOf(provider)
		if _, err := provider.UpTo(t.Context(), newest-1); err != nil {
			t.Fatal(err)
		}
		damage(t, location, "ALTER TABLE teams RENAME COLUMN banned TO barred")
		s, err := Open(t.Context(), location)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "teams.barred is unknown") {
			t.Errorf("error %v", err)
		}
		if version, err := provider.GetDBVersion(t.Context()); err != nil || version != newest-1 {
			t.Errorf("version %d %v, not %d", version, err, newest-1)
		}
	})
}

// TestInspectMakesNothing: a database that is not there is not made by looking for it.
// TestOpenedTogether: several apis may start at once on a database that none has prepared.
func TestOpenedTogether(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		var g errgroup.Group
		for range 3 {
			g.Go(func() error {
				s, err := Open(t.Context(), location)
				if err != nil {
					return err
				}
				return s.Close()
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestInspectMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shoal.db")
	if _, err := Inspect(t.Context(), path); err == nil {
		t.Error("it is there")
	}
	if _, err := WriteBackup(t.Context(), path, io.Discard); err == nil {
		t.Error("it was backed up")
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 0 {
		t.Errorf("files %q", files)
	}
}
