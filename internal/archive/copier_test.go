package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/clickhouse"
	"shoal/internal/clickhouse/clickhousetest"
	"shoal/internal/egress/ledger"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/telemetry/sandboxlog"
	"shoal/internal/telemetry/series"
)

var quiet = slog.New(slog.DiscardHandler)

// sources are what copiers copy from, as machines and apis have it.
type sources struct {
	logs    *sandboxlog.Store
	samples *series.Disk
	store   *store.Store
	ledger  *ledger.Store
	written int // of each kind
}

func openSources(t *testing.T) *sources {
	t.Helper()
	dir := t.TempDir()
	var s sources
	var err error
	if s.logs, err = sandboxlog.Open(t.Context(), filepath.Join(dir, "logs.db"), quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.logs.Close() })
	if s.samples, err = series.OpenDisk(t.Context(), filepath.Join(dir, "metrics.db"), quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.samples.Close() })
	if s.ledger, err = ledger.Open(t.Context(), filepath.Join(dir, "egress.db"), quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ledger.Close() })
	if s.store, err = store.Open(t.Context(), filepath.Join(dir, "shoal.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	if err := s.store.CreateTeam(t.Context(), shoal.Team{ID: "team", Slug: "team", Limits: shoal.DefaultTeamLimits()}); err != nil {
		t.Fatal(err)
	}
	return &s
}

// add writes some of each kind, with ascending numbers.
func (s *sources) add(t *testing.T, count int) {
	t.Helper()
	from := sandboxlog.Source{SandboxID: "one", TeamID: "team", TemplateID: "base"}
	var lines []byte
	var samples []shoal.Sample
	var events []shoal.Event
	var records []shoal.EgressRecord
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for range count {
		s.written++
		at := begin.Add(time.Duration(s.written) * time.Millisecond)
		lines = fmt.Appendf(lines, "{\"message\":\"line %d\",\"level\":\"warn\",\"n\":%d}\n", s.written, s.written)
		samples = append(samples, shoal.Sample{Metrics: shoal.Metrics{Time: at, CPUCount: 2, MemUsed: int64(s.written)}})
		events = append(events, shoal.Event{ID: fmt.Sprint("event ", s.written), Number: int64(s.written), Type: shoal.EventUpdated,
			TeamID: "team", SandboxID: "one", Time: at, Data: `{"a":"b"}`})
		records = append(records, shoal.EgressRecord{TeamID: "team", SandboxID: "one", Target: fmt.Sprintf("%d.test", s.written),
			Port: 443, Outcome: shoal.EgressAllowed, Minute: at, Count: int64(s.written)})
	}
	_, err := s.store.AddEvents(t.Context(), events)
	err = errors.Join(err, s.ledger.Add(t.Context(), records), s.logs.Add(t.Context(), from, lines), s.samples.Append(t.Context(), []series.Batch{{
		Source: series.Source{SandboxID: "one", TeamID: "team"}, Samples: samples}}))
	if err != nil {
		t.Fatal(err)
	}
}

func (s *sources) copiers(db *clickhouse.Client) []*Copier {
	return []*Copier{CopyLines(db, s.logs, quiet), CopySamples(db, s.samples, quiet), CopyEvents(db, s.store, quiet),
		CopyConnections(db, s.ledger, quiet)}
}

// check compares what has come with what was written: everything, once.
func (s *sources) check(t *testing.T, db *clickhouse.Client) {
	t.Helper()
	type row struct{ Rows, Different, Least, Most int }
	for table, number := range map[string]string{linesTable: "JSONExtractInt(line, 'n')", samplesTable: "mem_used",
		eventsTable: "number", connectionsTable: "count"} {
		err := clickhouse.Select(t.Context(), db, fmt.Sprintf(`SELECT count() AS Rows, uniqExact(%[1]s) AS Different,
			min(%[1]s) AS Least, max(%[1]s) AS Most FROM %[2]s FINAL`, number, table), nil, func(r row) error {
			if want := (row{s.written, s.written, 1, s.written}); r != want {
				t.Errorf("%s has %+v, want %+v", table, r, want)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestKilled: the server is killed and started again while rows come and two apis copy the same
// events. In the end it has all of them once.
func TestKilled(t *testing.T) {
	server := clickhousetest.Start(t)
	db := server.Client("shoal")
	if err := New(db, days, nil, quiet).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := openSources(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var g errgroup.Group
	copiers := append(s.copiers(db), CopyEvents(db, s.store, quiet))
	for _, c := range copiers {
		c.period, c.backoff = time.Millisecond, time.Millisecond
		g.Go(func() error { return c.Run(ctx) })
	}
	for range 4 {
		for range 20 {
			s.add(t, 30)
		}
		server.Kill()
		s.add(t, 30) // while it is away
		server.Start()
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, c := range copiers {
		if err := c.Copy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.Lag() != 0 {
			t.Errorf("%s lags by %s after everything was copied", c.kind, c.Lag())
		}
	}
	s.check(t, db)
}

// forgetful is a spool whose marks are lost.
type forgetful struct{ *sandboxlog.Store }

var errLost = errors.New("killed before the mark")

func (forgetful) Copied(context.Context, int64) error { return errLost }

// TestTwice: rows whose mark was lost come twice, and are there once. What is refused waits.
func TestTwice(t *testing.T) {
	db := clickhousetest.Start(t).Client("shoal")
	s := openSources(t)
	s.add(t, 100)
	for _, c := range s.copiers(db) {
		if err := c.Copy(t.Context()); err == nil || c.Lag() == 0 {
			t.Errorf("%s are copied although there are no tables: %v, lag %s", c.kind, err, c.Lag())
		}
	}
	if err := New(db, days, nil, quiet).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := CopyLines(db, forgetful{s.logs}, quiet).Copy(t.Context()); !errors.Is(err, errLost) {
			t.Fatal(err)
		}
	}
	if err := s.store.CopyEventsAgain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, c := range s.copiers(db) {
			if err := c.Copy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.store.CopyEventsAgain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.check(t, db)
}

// TestOddTimes: a guest's clock decides neither whether others' rows come nor how long its own stay.
func TestOddTimes(t *testing.T) {
	db := clickhousetest.Start(t).Client("shoal")
	if err := New(db, days, nil, quiet).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := openSources(t)
	for i, at := range []time.Time{time.UnixMilli(0), time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Now().Add(48 * time.Hour)} {
		err := s.samples.Append(t.Context(), []series.Batch{{Source: series.Source{SandboxID: fmt.Sprint("odd ", i), TeamID: "team"},
			Samples: []shoal.Sample{{Metrics: shoal.Metrics{Time: at, CPUCount: 1 << 40, MemUsed: -1}}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.add(t, 1)
	for _, c := range s.copiers(db) {
		if err := c.Copy(t.Context()); err != nil {
			t.Error(err)
		}
	}
	s.check(t, db)
}
