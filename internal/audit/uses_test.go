package audit

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// TestUses: what is the same in a minute is one entry with its number, told when the minute is over or the
// trail ends; and none is lost where there are more kinds than are counted at once.
func TestUses(t *testing.T) {
	var stored []shoal.AuditEntry
	trail := New(func(_ context.Context, entries []shoal.AuditEntry) error {
		stored = append(stored, entries...)
		return nil
	}, slog.New(slog.DiscardHandler))
	now := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	trail.now = func() time.Time { return now }
	use := func(sandbox, target, domain string) {
		trail.Use(shoal.AuditEntry{TeamID: "t", Actor: shoal.Actor{Kind: shoal.ActorSandbox, ID: sandbox},
			Operation: shoal.AuditSecretUsed, TargetKind: "secret", TargetID: target, Address: domain})
	}
	for range 1000 {
		use("i1", "s1", "a.example")
	}
	use("i2", "s1", "a.example")
	use("i1", "s2", "a.example")
	use("i1", "s1", "b.example")
	trail.endMinute(now)
	if err := trail.flush(t.Context()); err != nil || len(stored) != 0 {
		t.Errorf("within the minute: %d entries, %v", len(stored), err)
	}
	now = now.Add(time.Minute)
	use("i1", "s1", "a.example") // of the next minute
	if err := trail.flush(t.Context()); err != nil || len(stored) != 4 {
		t.Fatalf("%d entries, %v", len(stored), err)
	}
	var count int64
	for _, e := range stored {
		count = max(count, e.Count)
	}
	if count != 1000 {
		t.Errorf("%+v", stored)
	}
	stored = nil
	for i := range maxUses + 5 {
		use(fmt.Sprint("i", i), "s1", "c.example")
	}
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	count = 0
	for _, e := range stored {
		count += e.Count
	}
	if count != maxUses+6 {
		t.Errorf("%d uses are told of %d", count, maxUses+6)
	}
}
