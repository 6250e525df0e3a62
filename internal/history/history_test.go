package history

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"shoal/internal/archive"
	"shoal/internal/clickhouse"
	"shoal/internal/clickhouse/clickhousetest"
	"shoal/internal/egress/ledger"
	"shoal/internal/fleet"
	"shoal/internal/fleet/fleettest"
	"shoal/internal/shoal"
	"shoal/internal/store"
	"shoal/internal/telemetry/sandboxlog"
	"shoal/internal/telemetry/series"
)

// world is a machine, a store and an archive that each have a part of the past.
type world struct {
	t       *testing.T
	server  *clickhousetest.Server
	db      *clickhouse.Client
	node    *fleettest.Node
	store   *store.Store
	history *History
}

const sandboxID = "isandboxisandboxisan"

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, server: clickhousetest.Start(t), node: fleettest.New("n")}
	w.db = w.server.Client("shoal")
	var err error
	if w.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.must(w.store.CreateTeam(t.Context(), shoal.Team{ID: "team", Slug: "team", Limits: shoal.DefaultTeamLimits()}))
	w.node.Put(shoal.Sandbox{Spec: shoal.Spec{SandboxID: sandboxID, TeamID: "team"}, State: shoal.StateRunning})
	kept := archive.New(w.db, archive.Days{Events: 365, Metrics: 30, Logs: 30}, nil, log)
	w.must(kept.Probe(t.Context()))
	w.history = New(fleet.New(fleet.Config{Nodes: []shoal.Node{w.node}}, log), w.store, kept, log)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// forEachTrouble runs a check while everything is there, and while the machine is away.
func (w *world) forEachTrouble(check func(what string)) {
	check("everything is there")
	w.node.SetDown(errors.New("away"))
	check("the machine is away")
	w.node.SetDown(nil)
}

func TestLogs(t *testing.T) {
	w := newWorld(t)
	lines, err := sandboxlog.Open(t.Context(), filepath.Join(t.TempDir(), "logs.db"), slog.New(slog.DiscardHandler))
	w.must(err)
	defer lines.Close()
	begin := time.Now().Add(-5 * 24 * time.Hour).UTC().Truncate(time.Second)
	var body []byte
	for n := range 30 {
		body = fmt.Appendf(body, "{\"timestamp\":%q,\"level\":%q,\"message\":\"it's %d%%\",\"extra\":\"%d\"}\n",
			begin.Add(time.Duration(n)*time.Minute).Format(time.RFC3339Nano), []string{"info", "warn", "error"}[n%3], n, n)
	}
	w.must(lines.Add(t.Context(), sandboxlog.Source{SandboxID: sandboxID, TeamID: "team"}, body))
	w.must(archive.CopyLines(w.db, lines, slog.New(slog.DiscardHandler)).Copy(t.Context()))
	all, err := lines.Query(t.Context(), sandboxID, "team", shoal.LogQuery{Limit: 100})
	if err != nil || len(all) != 30 {
		t.Fatalf("%d lines, %v", len(all), err)
	}
	w.node.PutLog(sandboxID, "team", all[20:]...) // the machine has lost the others

	var queries []shoal.LogQuery
	for _, backward := range []bool{false, true} {
		for _, from := range []time.Time{{}, begin, begin.Add(10 * time.Minute), begin.Add(20 * time.Minute), begin.Add(25 * time.Minute)} {
			for _, limit := range []int{1, 7, 15, 100} {
				for _, level := range []shoal.LogLevel{"", shoal.LogWarn} {
					for _, search := range []string{"", "it's 2"} {
						queries = append(queries, shoal.LogQuery{From: from, Backward: backward, Limit: limit, Level: level, Search: search})
					}
				}
			}
		}
	}
	w.forEachTrouble(func(what string) {
		for _, q := range queries {
			want, err := lines.Query(t.Context(), sandboxID, "team", q)
			w.must(err)
			got, err := w.history.Logs(t.Context(), sandboxID, "team", q)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s: %+v is\n%+v, %v, want\n%+v", what, q, got, err, want)
			}
		}
		if list, _ := w.history.Logs(t.Context(), sandboxID, "other", shoal.LogQuery{Limit: 10}); len(list) > 0 {
			t.Errorf("%s: another team reads %+v", what, list)
		}
	})

	w.server.Kill()
	list, err := w.history.Logs(t.Context(), sandboxID, "team", shoal.LogQuery{Limit: 100})
	if err != nil || len(list) != 10 {
		t.Errorf("without the archive: %d lines, %v", len(list), err)
	}
	w.node.SetDown(errors.New("away"))
	if _, err := w.history.Logs(t.Context(), sandboxID, "team", shoal.LogQuery{Limit: 100}); err == nil {
		t.Error("without anybody there is no error")
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	disk, err := series.OpenDisk(t.Context(), filepath.Join(t.TempDir(), "metrics.db"), slog.New(slog.DiscardHandler))
	w.must(err)
	defer disk.Close()
	begin := time.Now().Add(-2 * 24 * time.Hour).UTC().Truncate(time.Minute)
	var all []shoal.Sample
	for n := range 40 {
		all = append(all, shoal.Sample{Metrics: shoal.Metrics{Time: begin.Add(time.Duration(n) * 10 * time.Second), CPUCount: 2,
			CPUUsedPct: 12.5, MemUsed: int64(n)<<32 + 1, MemTotal: 1 << 40}, Host: shoal.HostUse{CPUUsedPct: 0.25, MemBytes: 7}})
	}
	w.must(disk.Append(t.Context(), []series.Batch{{Source: series.Source{SandboxID: sandboxID, TeamID: "team"}, Samples: all}}))
	w.must(archive.CopySamples(w.db, disk, slog.New(slog.DiscardHandler)).Copy(t.Context()))
	w.node.PutMetrics(sandboxID, all[30:]...)

	at := func(n int) time.Time { return all[n].Time }
	w.forEachTrouble(func(what string) {
		for _, c := range []struct{ from, to time.Time }{{}, {at(5), at(10)}, {at(5), at(35)}, {at(32), at(35)}, {time.Time{}, at(20)},
			{at(0).Add(-time.Minute), at(39).Add(time.Minute)}, {at(30), at(39)}} {
			for _, operator := range []bool{false, true} {
				var want []shoal.Sample
				for _, s := range all {
					if !s.Time.Before(c.from) && (c.to.IsZero() || !s.Time.After(c.to)) {
						want = append(want, s)
					}
				}
				q := shoal.MetricsQuery{TeamID: "team", Operator: operator, From: c.from, To: c.to}
				got, err := w.history.Metrics(t.Context(), sandboxID, q)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%s: %+v is\n%+v, %v, want\n%+v", what, c, got, err, want)
				}
			}
		}
		if list, _ := w.history.Metrics(t.Context(), sandboxID, shoal.MetricsQuery{TeamID: "other"}); len(list) > 0 {
			t.Errorf("%s: another team reads %+v", what, list)
		}
		latest, err := w.history.LatestMetrics(t.Context(), "team", []string{sandboxID, "inobody"})
		if err != nil || len(latest) != 1 || latest[sandboxID] != all[39] {
			t.Errorf("%s: the latest is %+v, %v", what, latest, err)
		}
		if latest, _ := w.history.LatestMetrics(t.Context(), "other", []string{"inobody", sandboxID}); latest["inobody"] != (shoal.Sample{}) {
			t.Errorf("%s: another team reads %+v", what, latest)
		}
	})

	w.server.Kill()
	list, err := w.history.Metrics(t.Context(), sandboxID, shoal.MetricsQuery{TeamID: "team"})
	if err != nil || !slices.Equal(list, all[30:]) {
		t.Errorf("without the archive: %+v, %v", list, err)
	}
}

// TestConnections: what the machine has removed is told where it was, also of a minute of which it
// has a part, and once.
func TestConnections(t *testing.T) {
	w := newWorld(t)
	kept, err := ledger.Open(t.Context(), filepath.Join(t.TempDir(), "egress.db"), slog.New(slog.DiscardHandler))
	w.must(err)
	defer kept.Close()
	newest := time.Now().Add(-time.Hour).UTC().Truncate(time.Minute)
	var all []shoal.EgressRecord // newest first
	for n := range 30 {
		all = append(all, shoal.EgressRecord{SandboxID: sandboxID, TeamID: "team", Target: fmt.Sprintf("%02d.test", n), Port: 443,
			Outcome: []shoal.EgressOutcome{shoal.EgressAllowed, shoal.EgressDenied}[n%2],
			Minute:  newest.Add(-time.Duration(n/3) * time.Minute), Count: int64(n + 1)})
	}
	w.must(kept.Add(t.Context(), all))
	w.must(archive.CopyConnections(w.db, kept, slog.New(slog.DiscardHandler)).Copy(t.Context()))
	w.node.PutRecords(all[:10]...)
	w.forEachTrouble(func(what string) {
		for _, limit := range []int{0, 1, 9, 10, 11, 14, 30, 100} {
			for _, part := range [][2]time.Time{{}, {newest.Add(-5 * time.Minute), {}}, {{}, newest.Add(-2 * time.Minute)},
				{newest.Add(-8 * time.Minute), newest.Add(-time.Minute)}} {
				q := shoal.EgressQuery{TeamID: "team", From: part[0], To: part[1], Limit: limit}
				var want []shoal.EgressRecord
				for _, r := range all {
					if !r.Minute.Before(q.From) && (q.To.IsZero() || !r.Minute.After(q.To)) && (limit == 0 || len(want) < limit) {
						want = append(want, r)
					}
				}
				got, err := w.history.EgressRecords(t.Context(), sandboxID, q)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%s: %+v is\n%+v, %v, want\n%+v", what, q, got, err, want)
				}
			}
		}
		if list, _ := w.history.EgressRecords(t.Context(), sandboxID, shoal.EgressQuery{TeamID: "other"}); len(list) > 0 {
			t.Errorf("%s: another team reads %+v", what, list)
		}
	})
	w.server.Kill()
	list, err := w.history.EgressRecords(t.Context(), sandboxID, shoal.EgressQuery{TeamID: "team"})
	if err != nil || !slices.Equal(list, all[:10]) {
		t.Errorf("without the archive: %+v, %v", list, err)
	}
}

// TestEvents: what the store has removed is listed where it was, whatever part is asked for.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	var all []shoal.Event // newest first
	for n := range 40 {
		e := shoal.Event{ID: fmt.Sprint(n), Number: int64(40 - n), Type: shoal.EventTypes[n%3], TeamID: "team",
			SandboxID: []string{"one", "two"}[n%2], Time: now.Add(-time.Duration(n) * 4 * time.Hour), Data: `{"x":"'\\"}`,
			ExecutionID: "e", TemplateID: "t", BuildID: "b"}
		all = append(all, e)
	}
	copier := archive.CopyEvents(w.db, w.store, slog.New(slog.DiscardHandler))
	add := func(list []shoal.Event) {
		t.Helper()
		n, err := w.store.AddEvents(t.Context(), list)
		if err != nil || n != len(list) {
			t.Fatalf("%d events stored, %v", n, err)
		}
	}
	add(all[1:])
	w.must(copier.Copy(t.Context()))
	w.must(w.store.DropExpiredEvents(t.Context(), now.Add(4*24*time.Hour))) // of the last three days there are some
	add(all[:1])                                                            // still to be copied

	check := func(what string, all []shoal.Event) {
		t.Helper()
		for _, sandbox := range []string{"", "one", "three"} {
			for _, types := range [][]shoal.EventType{nil, shoal.EventTypes[:2]} {
				for _, oldestFirst := range []bool{false, true} {
					for _, offset := range []int{0, 1, 17, 18, 50} {
						for _, limit := range []int{1, 10, 100} {
							q := store.EventQuery{TeamID: "team", SandboxID: sandbox, Types: types, OldestFirst: oldestFirst,
								Offset: offset, Limit: limit}
							got, err := w.history.Events(t.Context(), q)
							if want := part(all, q); err != nil || !slices.Equal(got, want) {
								t.Fatalf("%s: %+v is %s, %v, want %s", what, q, ids(got), err, ids(want))
							}
						}
					}
				}
			}
		}
	}
	check("everything is there", all)
	if list, err := w.history.Events(t.Context(), store.EventQuery{TeamID: "other", Limit: 10}); err != nil || len(list) > 0 {
		t.Errorf("another team reads %+v, %v", list, err)
	}
	w.server.Kill()
	stored, err := w.store.Events(t.Context(), store.EventQuery{TeamID: "team", Limit: 100})
	if err != nil || len(stored) < 10 || len(stored) > 30 {
		t.Fatalf("the store has %d events, %v", len(stored), err)
	}
	check("the archive is away", stored)
}

// part is a part of all events, as a query asks for it.
func part(all []shoal.Event, q store.EventQuery) (list []shoal.Event) {
	for _, e := range all {
		if (q.SandboxID == "" || e.SandboxID == q.SandboxID) && (q.Types == nil || slices.Contains(q.Types, e.Type)) {
			list = append(list, e)
		}
	}
	if q.OldestFirst {
		slices.Reverse(list)
	}
	list = list[min(q.Offset, len(list)):]
	return list[:min(q.Limit, len(list))]
}

func ids(list []shoal.Event) string {
	var b strings.Builder
	for _, e := range list {
		b.WriteString(" " + e.ID)
	}
	return b.String()
}
