package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/store"
)

// away stands before a real store and can be made to refuse.
type away struct {
	store *store.Store

	mu   sync.Mutex // guards the rest
	gone bool
}

var errAway = errors.New("the store is away")

func (a *away) add(ctx context.Context, entries []shoal.AuditEntry) error {
	a.mu.Lock()
	gone := a.gone
	a.mu.Unlock()
	if gone {
		return errAway
	}
	return a.store.AddAudit(ctx, entries)
}

func (a *away) leave(gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = gone
}

func newTrail(t *testing.T) (*Trail, *away) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "shoal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	a := &away{store: st}
	return New(a.add, slog.New(slog.DiscardHandler)), a
}

// stored lists all entries, oldest first.
func (a *away) stored(t *testing.T) []shoal.AuditEntry {
	t.Helper()
	list, err := a.store.Audit(t.Context(), store.AuditQuery{Everything: true, OldestFirst: true, Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func entry(operation string) shoal.AuditEntry {
	return shoal.AuditEntry{Operation: operation, Actor: shoal.Actor{Kind: shoal.ActorKey, ID: "k"}, Status: 200}
}

// TestRun: entries are stored while it runs, in their order, and what comes after its end by Close.
func TestRun(t *testing.T) {
	trail, a := newTrail(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- trail.Run(ctx) }()
	const n = 3*batch + 7
	for i := range n {
		trail.Add(entry(fmt.Sprint(i)))
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(a.stored(t)) < n && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	trail.Add(entry("late"))
	if err := trail.Close(ctx); err != nil { // also when the context has ended
		t.Fatal(err)
	}
	got := a.stored(t)
	if len(got) != n+1 || got[n].Operation != "late" {
		t.Fatalf("%d entries, want %d", len(got), n+1)
	}
	for i, e := range got[:n] {
		if e.Operation != fmt.Sprint(i) {
			t.Fatalf("entry %d is %s", i, e.Operation)
		}
	}
}

// TestStoreAway: entries wait while the store is away, the oldest go when there are too many, and
// an entry says how many.
func TestStoreAway(t *testing.T) {
	trail, a := newTrail(t)
	a.leave(true)
	trail.Add(entry("first"))
	if err := trail.flush(t.Context()); !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	a.leave(false)
	if err := trail.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.stored(t); len(got) != 1 || got[0].Operation != "first" {
		t.Fatalf("%+v", got)
	}
	a.leave(true)
	trail.most = 3 * batch
	const over = 42
	for i := range 3*batch + over {
		trail.Add(entry(fmt.Sprint(i)))
		if i%600 == 0 { // takes a batch out and puts it back
			if err := trail.flush(t.Context()); !errors.Is(err, errAway) {
				t.Fatal(err)
			}
		}
	}
	a.leave(false)
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost, kept := int64(0), map[string]bool{}
	for _, e := range a.stored(t)[1:] {
		if e.Operation == shoal.AuditLost {
			lost += e.Count
			continue
		}
		kept[e.Operation] = true
	}
	if lost != over || len(kept) != 3*batch || kept[fmt.Sprint(over-1)] || !kept[fmt.Sprint(over)] {
		t.Errorf("%d are told as lost and %d stored", lost, len(kept))
	}
}

// TestRefusals: of a source, one entry is stored at once and one for all others of the minute; too
// many sources are one.
func TestRefusals(t *testing.T) {
	trail, a := newTrail(t)
	now := time.Date(2026, 8, 1, 10, 0, 5, 0, time.UTC)
	trail.now = func() time.Time { return now }
	refused := func(address, operation string) {
		trail.Refuse(shoal.AuditEntry{Operation: operation, Address: address, Status: 401,
			Actor: shoal.Actor{Kind: shoal.ActorNobody}, ErrorCode: "auth.unauthorized"})
	}
	for i := range 1000 {
		refused("203.0.113.9", fmt.Sprint("operation", i))
		refused(fmt.Sprintf("2001:db8::%x", i+1), "other") // one network
	}
	trail.Refuse(shoal.AuditEntry{Operation: "SignIn", Address: "203.0.113.9", Status: 401, // another error
		Actor: shoal.Actor{Kind: shoal.ActorNobody}, ErrorCode: "sign_in.refused"})
	known := shoal.AuditEntry{Operation: "CreateAPIKey", Address: "203.0.113.9", Status: 403, TeamID: "team",
		Actor: shoal.Actor{Kind: shoal.ActorUser, ID: "u"}, ErrorCode: "auth.role"}
	trail.Refuse(known)
	flush := func() []shoal.AuditEntry {
		t.Helper()
		if err := trail.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return a.stored(t)
	}
	if got := flush(); len(got) != 4 || got[0].Count != 1 || got[2].Operation != "SignIn" || got[3].Actor.ID != "u" {
		t.Fatalf("at once: %+v", got)
	}
	now = now.Add(time.Minute)
	trail.endMinute(now)
	got := flush()
	if len(got) != 6 || got[4].Count != 999 || got[5].Count != 999 || got[4].ErrorCode != "auth.unauthorized" {
		t.Fatalf("at the end of the minute: %+v", got)
	}
	for i := range 10 * maxSources {
		refused(fmt.Sprintf("198.51.%d.%d", i/256, i%256), "flood")
	}
	now = now.Add(time.Minute)
	trail.endMinute(now)
	got = flush()[6:]
	rest := got[len(got)-1]
	if len(got) != maxSources+1 || rest.Address != "" || rest.Count != 9*maxSources {
		t.Errorf("%d entries of a flood, the last %+v", len(got), rest)
	}
}

// TestNoSecrets: what clients write into paths and headers is kept short and without secrets.
func TestNoSecrets(t *testing.T) {
	trail, a := newTrail(t)
	e := entry("x")
	e.TargetID, e.Agent = shoal.DevAPIKey, "agent\n"+shoal.DevAccessToken+strings.Repeat("é", 5000)
	e.Actor.Name = "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln \xff"
	trail.Add(e)
	if err := trail.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := a.stored(t)[0]
	if got.TargetID != "…" || got.Actor.Name != "Bearer … ?" || !strings.HasPrefix(got.Agent, "agent …é") || len(got.Agent) > 256 {
		t.Errorf("%+v", got)
	}
}
