package ledger

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestSpool: what is to be copied is told when its minute is over, until it is marked, and again as
// a whole when it grew meanwhile.
func TestSpool(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "egress.db"))
	now := time.Now().UTC().Truncate(time.Minute)
	one := shoal.EgressRecord{SandboxID: "i1", TeamID: "a", Target: "x.test", Port: 443, Outcome: shoal.EgressAllowed,
		Minute: now.Add(-10 * time.Minute), Count: 2}
	two, fresh := one, one
	two.Target, two.Minute = "y.test", now.Add(-5*time.Minute)
	fresh.Minute = now
	add := func(list ...shoal.EgressRecord) {
		t.Helper()
		if err := s.Add(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	waits := func(want ...shoal.EgressRecord) (mark []shoal.EgressRecord) {
		t.Helper()
		list, mark, err := s.Uncopied(t.Context(), 10, 1)
		if err != nil || fmt.Sprint(list) != fmt.Sprint(want) {
			t.Fatalf("to copy: %v, %v, want %v", list, err, want)
		}
		return mark
	}
	copied := func(mark []shoal.EgressRecord) {
		t.Helper()
		if err := s.Copied(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
	}
	add(two, one, fresh)
	waits(one, two)
	mark := waits(one, two)
	add(two) // after it was read
	copied(mark)
	two.Count = 4
	copied(waits(two))
	if list, _, err := s.Uncopied(t.Context(), 10, 1); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	add(one, two)
	if list, _, err := s.Uncopied(t.Context(), 1, 1); err != nil || len(list) != 1 || list[0].Count != 4 {
		t.Errorf("one of those that grew: %v, %v", list, err)
	}
}
