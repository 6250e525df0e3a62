package ledger

import (
	"log/slog"
	"os"
	"path/filepath"
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
	t.Cleanup(func() { s.Close() })
	return s
}

// TestRecords: counts add up, are told to their team alone, and go after seven days.
func TestRecords(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "egress.db"))
	now := time.Now().UTC().Truncate(time.Minute)
	one := shoal.EgressRecord{SandboxID: "i1", TeamID: "a", Target: "x.test", Port: 443, Outcome: shoal.EgressAllowed,
		Minute: now, Count: 2}
	denied, old, other := one, one, one
	denied.Outcome, denied.Target = shoal.EgressDenied, "y.test"
	old.Minute = now.Add(-shoal.EgressRetention - time.Hour)
	other.SandboxID, other.TeamID = "i2", "b"
	for range 2 {
		if err := s.Add(t.Context(), []shoal.EgressRecord{one, denied, old, other}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(id string, q shoal.EgressQuery) []shoal.EgressRecord {
		t.Helper()
		list, err := s.Query(t.Context(), id, q)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	one.Count, denied.Count = 4, 4
	list := ask("i1", shoal.EgressQuery{TeamID: "a"})
	if len(list) != 3 || list[0] != one || list[1] != denied {
		t.Errorf("%+v", list)
	}
	if list := ask("i1", shoal.EgressQuery{TeamID: "b"}); len(list) != 0 {
		t.Errorf("another team is told %+v", list)
	}
	if list := ask("i1", shoal.EgressQuery{TeamID: "a", From: now.Add(-time.Hour), To: now, Limit: 1}); len(list) != 1 {
		t.Errorf("a part: %+v", list)
	}
	if err := s.tidy(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if list := ask("i1", shoal.EgressQuery{TeamID: "a"}); len(list) != 2 {
		t.Errorf("after seven days: %+v", list)
	}
}

// TestUnusableFile: records are not worth a start that fails.
func TestUnusableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.db")
	if err := os.WriteFile(path, []byte("this is no database, whatever it was before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := openAt(t, path).Query(t.Context(), "i1", shoal.EgressQuery{}); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}
