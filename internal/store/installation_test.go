package store

import (
	"sync"
	"testing"
)

// TestInstallation: all processes on a database find the same ID, also when the first ones
// ask at once, and another database has another.
func TestInstallation(t *testing.T) {
	forEachEngine(t, func(t *testing.T, location string) {
		ids := make([]string, 4)
		var wg sync.WaitGroup
		for i := range ids {
			s := openStore(t, location)
			wg.Go(func() {
				var err error
				if ids[i], err = s.Installation(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		again, err := openStore(t, location).Installation(t.Context())
		if err != nil || again == "" {
			t.Fatalf("%q, %v", again, err)
		}
		for _, id := range ids {
			if id != again {
				t.Errorf("%q and %q", id, again)
			}
		}
		if other, err := openStore(t, t.TempDir()+"/other.db").Installation(t.Context()); err != nil || other == again {
			t.Errorf("another database is %q, too: %v", other, err)
		}
	})
}
