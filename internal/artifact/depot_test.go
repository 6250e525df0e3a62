package artifact

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// cached returns a store that caches a depot and may hold bound bytes.
func cached(t *testing.T, dir, depotDir string, bound int64) *Store {
	t.Helper()
	s := open(t, dir)
	d, err := NewDepot(depotDir, bound, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d.grace = 0
	if err := s.WithDepot(d); err != nil {
		t.Fatal(err)
	}
	return s
}

func run(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func eventually(t *testing.T, what string, probe func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !probe(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen: " + what)
		}
	}
}

func isHere(s *Store, id string) bool {
	_, err := s.getLocal(id)
	return err == nil
}

// TestCacheIsBounded: the least recently used artifact is evicted, and comes back when it
// is needed.
func TestCacheIsBounded(t *testing.T) {
	s := cached(t, t.TempDir(), t.TempDir(), 25)
	put(t, s, "one", "0123456789")
	put(t, s, "two", "0123456789")
	if _, err := s.Get("one"); err != nil { // makes "two" the least recently used
		t.Fatal(err)
	}
	run(t, s)
	put(t, s, "three", "0123456789")
	eventually(t, "two leaves", func() bool { return !isHere(s, "two") })
	if !isHere(s, "one") || !isHere(s, "three") {
		t.Error("more than needed was evicted")
	}
	a, err := s.Get("two")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(); err != nil || string(a.Meta) != `{"of":"two"}` {
		t.Errorf("%s %v", a.Meta, err)
	}
	if err := s.Remove("two"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("two"); !errors.Is(err, ErrMissing) {
		t.Errorf("a removed artifact is in the depot: %v", err)
	}
	if list, err := s.ListAll(); err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
}

// TestDamageHereIsMendedFromTheDepot: damage here is repaired from the depot, and damage in
// the depot is not copied here.
func TestDamageHereIsMendedFromTheDepot(t *testing.T) {
	there := t.TempDir()
	s := cached(t, t.TempDir(), there, 1000)
	a := put(t, s, "one", "hello")
	if err := s.upload(context.Background(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(a.Dir, "data"), 2); err != nil {
		t.Fatal(err)
	}
	a, err := s.Get("one")
	if err != nil || a.Verify() != nil {
		t.Errorf("not mended: %v", err)
	}
	if err := os.WriteFile(filepath.Join(there, "one", "data"), []byte("hellO"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.removeLocal("one"); err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := s.Get("one"); !errors.As(err, &corrupt) || isHere(s, "one") {
		t.Errorf("a damaged artifact was fetched: %v", err)
	}
}

// TestUnsentArtifactsStay: the previous process exited before it had copied everything.
func TestUnsentArtifactsStay(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	put(t, cached(t, here, there, 0), "one", "hello")
	s := cached(t, here, there, 0)
	if err := s.evict(); err != nil || !isHere(s, "one") {
		t.Fatalf("evicted before it was copied: %v", err)
	}
	run(t, s)
	eventually(t, "the artifact is copied and evicted", func() bool { return !isHere(s, "one") })
	if _, err := s.Get("one"); err != nil {
		t.Error(err)
	}
}
