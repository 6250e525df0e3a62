package eventlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
)

func openAt(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func event(sandboxID string, number int64, kind shoal.EventType) shoal.Event {
	return shoal.Event{ID: fmt.Sprintf("%s-%d", sandboxID, number), Number: number, Type: kind, SandboxID: sandboxID,
		TeamID: "team", Time: time.Unix(number, 0).UTC(), Data: `{"sandbox_metadata":{"a":"b"}}`}
}

func appendTo(t *testing.T, l *Log, events ...shoal.Event) {
	t.Helper()
	if err := l.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// after returns the events after a mark as "one-1 one-2", and the next mark.
func after(t *testing.T, l *Log, mark shoal.EventMark) (string, shoal.EventMark) {
	t.Helper()
	batch, _, err := l.After(t.Context(), mark)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range batch.Events {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " "), batch.Next
}

// TestKeptUntilTaken: events stay, over restarts too, until somebody says that they are stored.
func TestKeptUntilTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	l := openAt(t, path)
	first := event("one", 1, shoal.EventCreated)
	appendTo(t, l, first)
	appendTo(t, l, first, event("one", 2, shoal.EventPaused)) // again, as after a crash
	got, mark := after(t, l, shoal.EventMark{})
	if got != "one-1 one-2" {
		t.Errorf("got %q", got)
	}
	batch, _, err := l.After(t.Context(), shoal.EventMark{})
	if err != nil || batch.Events[0] != first {
		t.Errorf("read as %+v, %v", batch.Events, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openAt(t, path)
	if again, _ := after(t, l, shoal.EventMark{}); again != got {
		t.Errorf("after a restart: %q", again)
	}
	appendTo(t, l, event("one", 3, shoal.EventResumed))
	if next, _ := after(t, l, mark); next != "one-3" {
		t.Errorf("after the mark: %q", next)
	}
	if left, _ := after(t, l, shoal.EventMark{}); left != "one-3" {
		t.Errorf("what is before the mark is still there: %q", left)
	}
	var kept int64
	if err := l.db.QueryRow(`SELECT SUM(bytes) FROM events`).Scan(&kept); err != nil || kept != l.kept {
		t.Errorf("%d bytes are counted, and %d are there: %v", l.kept, kept, err)
	}
}

// TestMarkOfAnotherLog: a machine that has lost its log numbers anew, and no event is taken for
// one that was stored.
func TestMarkOfAnotherLog(t *testing.T) {
	l := openAt(t, filepath.Join(t.TempDir(), "events.db"))
	appendTo(t, l, event("one", 1, shoal.EventCreated))
	if got, next := after(t, l, shoal.EventMark{Log: "former", Position: 1000}); got != "one-1" || next.Position != 1 {
		t.Errorf("got %q, %+v", got, next)
	}
}

// TestPositionsAreNotGivenTwice: not even when all events were taken and the process restarts.
func TestPositionsAreNotGivenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	l := openAt(t, path)
	appendTo(t, l, event("one", 1, shoal.EventCreated))
	_, mark := after(t, l, shoal.EventMark{})
	after(t, l, mark) // the log is empty now
	l.Close()
	l = openAt(t, path)
	appendTo(t, l, event("one", 2, shoal.EventPaused))
	if got, _ := after(t, l, mark); got != "one-2" {
		t.Errorf("after the mark: %q", got)
	}
}

// TestManyAtOnce: callers share transactions, and each has its events on the disk when it goes on.
func TestManyAtOnce(t *testing.T) {
	l := openAt(t, filepath.Join(t.TempDir(), "events.db"))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			id := fmt.Sprint("s", i)
			for n := range 4 {
				if err := l.Append(t.Context(), []shoal.Event{event(id, int64(n+1), shoal.EventUpdated)}); err != nil {
					t.Error(err)
				}
				var there int
				if err := l.db.QueryRow(`SELECT COUNT(*) FROM events WHERE id = ?`, fmt.Sprintf("%s-%d", id, n+1)).
					Scan(&there); err != nil || there != 1 {
					t.Errorf("%d times in the log, %v", there, err)
				}
			}
		})
	}
	wg.Wait()
	batch, _, err := l.After(t.Context(), shoal.EventMark{})
	if err != nil || len(batch.Events) != 200 {
		t.Fatalf("%d events, %v", len(batch.Events), err)
	}
	last := map[string]int64{}
	for _, e := range batch.Events {
		if e.Number != last[e.SandboxID]+1 {
			t.Errorf("%s comes after %d", e.ID, last[e.SandboxID])
		}
		last[e.SandboxID] = e.Number
	}
}

// TestNews: who waits is told.
func TestNews(t *testing.T) {
	l := openAt(t, filepath.Join(t.TempDir(), "events.db"))
	_, news, err := l.After(t.Context(), shoal.EventMark{})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-news:
		t.Error("there is no news yet")
	default:
	}
	appendTo(t, l, event("one", 1, shoal.EventCreated))
	select {
	case <-news:
	default:
		t.Error("nobody is told")
	}
}

// TestBound: if nobody takes events, the oldest of the team that has most go, and it is said.
func TestBound(t *testing.T) {
	var said bytes.Buffer
	l, err := Open(t.Context(), filepath.Join(t.TempDir(), "events.db"), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.max = 64 << 10
	quiet := event("quiet", 1, shoal.EventCreated)
	quiet.TeamID = "another"
	appendTo(t, l, quiet)
	for n := range 400 {
		appendTo(t, l, event("loud", int64(n+1), shoal.EventUpdated))
	}
	if l.kept > l.max || l.kept < l.max/2 {
		t.Errorf("%d bytes are kept", l.kept)
	}
	got, _ := after(t, l, shoal.EventMark{})
	if !strings.HasPrefix(got, "quiet-1 ") || !strings.HasSuffix(got, " loud-400") || strings.Contains(got, " loud-1 ") {
		t.Errorf("kept: %.100s…", got)
	}
	if !strings.Contains(said.String(), "events are lost") {
		t.Error("nobody is told that events were lost")
	}
}

// TestLost: sandboxes that have not ended are known, whether their events were taken or not.
func TestLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	l := openAt(t, path)
	appendTo(t, l, event("known", 1, shoal.EventCreated), event("ended", 1, shoal.EventCreated),
		event("lost", 1, shoal.EventCreated), event("lost", 2, shoal.EventPaused), event("ended", 2, shoal.EventKilled))
	_, mark := after(t, l, shoal.EventMark{})
	after(t, l, mark)
	l.Close()
	l = openAt(t, path)
	lost, err := l.Lost(t.Context(), map[string]bool{"known": true})
	if err != nil || len(lost) != 1 || lost[0] != event("lost", 2, shoal.EventPaused) {
		t.Fatalf("lost: %+v, %v", lost, err)
	}
	appendTo(t, l, event("lost", 3, shoal.EventKilled))
	if lost, err := l.Lost(t.Context(), map[string]bool{"known": true}); err != nil || len(lost) != 0 {
		t.Errorf("its end is told again: %+v, %v", lost, err)
	}
}

// TestUnreadable: a log that is damaged, or of a later version, is put aside, not overwritten.
func TestUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"damaged": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("x"), 4096), 0o600) },
		"later": func(path string) error {
			l := openAt(t, path)
			defer l.Close()
			_, err := l.db.Exec(`PRAGMA user_version = 99`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.db")
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			l := openAt(t, path)
			appendTo(t, l, event("one", 1, shoal.EventCreated))
			if got, _ := after(t, l, shoal.EventMark{}); got != "one-1" {
				t.Errorf("got %q", got)
			}
			if aside, _ := filepath.Glob(path + ".unreadable-*"); len(aside) == 0 {
				t.Error("the old one is gone")
			}
		})
	}
}
