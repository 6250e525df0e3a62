package sandboxlog

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func openAt(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func source(id string) Source {
	return Source{SandboxID: id, TeamID: "team", TemplateID: "base", Since: time.Now().Add(-time.Hour)}
}

func add(t *testing.T, s *Store, from Source, lines ...string) {
	t.Helper()
	if err := s.Add(t.Context(), from, []byte(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
}

func query(t *testing.T, s *Store, id string, q shoal.LogQuery) []shoal.LogEntry {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := s.Query(t.Context(), id, "team", q)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func messages(list []shoal.LogEntry) string {
	var words []string
	for _, e := range list {
		words = append(words, e.Message)
	}
	return strings.Join(words, " ")
}

func line(at time.Time, level, message string) string {
	return fmt.Sprintf(`{"timestamp":%q,"level":%q,"message":%q}`, at.Format(time.RFC3339Nano), level, message)
}

func TestQueries(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	t0 := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	at := func(n int) time.Time { return t0.Add(time.Duration(n) * time.Second) }
	add(t, s, source("one"), line(at(3), "warn", "three"), line(at(1), "DEBUG", "one"), line(at(2), "info", "two"), line(at(4), "error", "four"))
	add(t, s, source("two"), line(at(1), "info", "other"))
	for _, c := range []struct {
		q    shoal.LogQuery
		want string
	}{
		{shoal.LogQuery{}, "one two three four"},
		{shoal.LogQuery{Backward: true}, "four three two one"},
		{shoal.LogQuery{From: at(2)}, "two three four"},
		{shoal.LogQuery{From: at(2), Backward: true}, "two one"},
		{shoal.LogQuery{Limit: 1}, "one"},
		{shoal.LogQuery{Limit: 2, Backward: true}, "four three"},
		{shoal.LogQuery{Level: shoal.LogWarn}, "three four"},
		{shoal.LogQuery{Search: "o"}, "one two four"},
		{shoal.LogQuery{Search: "O"}, ""},
		{shoal.LogQuery{Search: "%"}, ""},
	} {
		if got := messages(query(t, s, "one", c.q)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	if list, err := s.Query(t.Context(), "one", "other team", shoal.LogQuery{Limit: 10}); err != nil || len(list) > 0 {
		t.Errorf("another team sees %v %v", list, err)
	}
}

func TestLinesAreMadeWhole(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	from := source("one")
	begin := time.Now()
	add(t, s, from,
		`{"message":"plain","level":"loud","instanceID":"another","pid":7,"ok":true,"nested":{"a":1},"list":[1]}`,
		`{"message":"measured","category":"metrics"}`, `no JSON`, `[1]`, `null`, ``,
		line(from.Since.Add(-time.Second), "info", "of the sandbox that this is a copy of"),
		line(time.Now().Add(time.Hour), "info", "future"))
	list := query(t, s, "one", shoal.LogQuery{})
	if messages(list) != "plain future" {
		t.Fatalf("%+v", list)
	}
	e := list[0]
	if e.Level != shoal.LogInfo || e.Time.Before(begin.Add(-time.Second)) || list[1].Time.After(time.Now()) {
		t.Errorf("%+v", list)
	}
	if len(e.Fields) != 7 || e.Fields["origin"] != "guest" || e.Fields["logger"] != "sandbox" || e.Fields["pid"] != "7" || e.Fields["ok"] != "true" || e.Fields["instanceID"] != "one" || e.Fields["teamID"] != "team" || e.Fields["envID"] != "base" {
		t.Errorf("fields %v", e.Fields)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(e.Line), &doc); err != nil || doc["level"] != "info" || doc["message"] != "plain" || doc["instanceID"] != "one" {
		t.Errorf("line %s: %v", e.Line, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(doc["timestamp"])); err != nil {
		t.Error(err)
	}
}

func TestNotesOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs.db")
	s := openAt(t, path)
	s.Note(source("one"), shoal.LogWarn, "Sandbox ended", map[string]any{"reason": "timeout"})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list := query(t, openAt(t, path), "one", shoal.LogQuery{})
	if len(list) != 1 || list[0].Level != shoal.LogWarn || list[0].Fields["reason"] != "timeout" || list[0].Fields["logger"] != "orchestrator" || list[0].Fields["origin"] != "node" {
		t.Errorf("%+v", list)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestUnreadableLogsAreBegunAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	add(t, s, source("one"), `{"message":"fine"}`)
	if _, err := s.db.Exec(`PRAGMA user_version = 999`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if list := query(t, openAt(t, path), "one", shoal.LogQuery{}); len(list) > 0 {
		t.Errorf("lines of another version: %v", list)
	}
}

func TestTooMuch(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	body := []byte(`{"message":"` + strings.Repeat("x", 190<<10) + `"}`)
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = s.Add(t.Context(), source("loud"), body)
	}
	if !shoal.ErrLogRate.Matches(err) {
		t.Errorf("got %v", err)
	}
	add(t, s, source("quiet"), `{"message":"heard"}`)
	if e := query(t, s, "loud", shoal.LogQuery{Limit: 1})[0]; len(e.Message) > maxMessage+10 {
		t.Errorf("a message of %d bytes", len(e.Message))
	}
}

func TestTidy(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "logs.db"))
	ctx := context.Background()
	old := source("old")
	old.Since = time.Time{}
	add(t, s, old, line(time.Now().Add(-shoal.LogRetention-time.Minute), "info", "gone"), line(time.Now().Add(-shoal.LogRetention+time.Minute), "info", "kept"))
	for _, q := range []shoal.LogQuery{{}, {Backward: true}} {
		if got := messages(query(t, s, "old", q)); got != "kept" {
			t.Errorf("before it is tidied: %q", got)
		}
	}
	if err := s.tidy(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, `SELECT count(*) FROM lines`); n != 1 {
		t.Errorf("%d lines are left, want 1", n)
	}
}
