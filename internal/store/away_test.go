package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/shoal"
	"shoal/internal/store/storetest"
)

// TestFailover: with two servers, of which one follows the other, whatever was acknowledged is there
// when the other has taken over, and the store writes there by itself, also while the first one still
// answers but takes no writes.
func TestFailover(t *testing.T) {
	for name, leave := range map[string]func(context.Context, *storetest.Server) error{
		"killed": func(_ context.Context, s *storetest.Server) error { s.Kill(); return nil },
		"fenced": func(ctx context.Context, s *storetest.Server) error { return s.Fence(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			first, second := startPair(t)
			s, err := Open(t.Context(), storetest.Pair("shoal", first, second))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			openConnections(t, s)
			if err := add(t, s, "before"); err != nil {
				t.Fatal(err)
			}
			if err := leave(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			for n := 0; ; n++ { // the server takes a moment to know
				if err := add(t, s, fmt.Sprint("meanwhile", n)); Away(err) {
					break
				} else if err != nil {
					t.Fatalf("a write to no server: %v", err)
				}
			}
			if err := second.Promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			awaitWrites(t, s)
			openConnections(t, s)
			for n := range Pool {
				if err := add(t, s, fmt.Sprint("further", n)); err != nil {
					t.Errorf("a write after the first one to the new server: %v", err)
				}
			}
			tiers, err := s.Tiers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, tier := range tiers {
				found[tier.Name] = true
			}
			if !found["before"] || !found["after"] || !found["further0"] {
				t.Errorf("what was acknowledged is not there: %v", found)
			}
		})
	}
}

// startPair starts two servers. The first one acknowledges what the second one has, too.
func startPair(t *testing.T) (first, second *storetest.Server) {
	t.Helper()
	first, err := storetest.StartServer(t.Context())
	if errors.Is(err, storetest.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Stop)
	if _, err := first.Create(t.Context(), "shoal"); err != nil {
		t.Fatal(err)
	}
	if second, err = first.Standby(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	storetest.Exec(t, first.Location("postgres"), "ALTER SYSTEM SET synchronous_standby_names = '*'",
		"SELECT pg_reload_conf()")
	return first, second
}

// openConnections has the store open all of its connections.
func openConnections(t *testing.T, s *Store) {
	t.Helper()
	var g errgroup.Group
	for range Pool {
		g.Go(func() error {
			_, err := s.db.ExecContext(t.Context(), "SELECT pg_sleep(0.2)")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func add(t *testing.T, s *Store, tier string) error {
	_, err := s.AddTier(t.Context(), tier, 0, shoal.TeamLimits{})
	return err
}

// awaitWrites writes until it is possible. Only an absent server may be in the way.
func awaitWrites(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := add(t, s, "after")
		if err == nil {
			return
		}
		if !Away(err) || time.Now().After(deadline) {
			t.Fatalf("a write after the failover: %v", err)
		}
	}
}

// TestAwayIsOfTheServer: what a caller or a query does wrong is not an absent server.
func TestAwayIsOfTheServer(t *testing.T) {
	s, err := Open(t.Context(), storetest.NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, wrong := s.db.ExecContext(t.Context(), "SELECT nothing FROM nowhere")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, cancelled := s.db.ExecContext(ended, "SELECT 1")
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, late := s.db.ExecContext(short, "SELECT pg_sleep(60)")
	for name, err := range map[string]error{"wrong": wrong, "cancelled": cancelled, "late": late} {
		if err == nil || Away(err) {
			t.Errorf("%s: %v, away: %v", name, err, Away(err))
		}
	}
}
