package live

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTriesSideBySide: many at once are not more than one after the other, and what is kept is bounded.
func TestTriesSideBySide(t *testing.T) {
	tries := Tries{Now: time.Now}
	var free atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if tries.BeginTry(t.Context(), []Count{{Key: "ann", Free: 5}}) == 0 {
				free.Add(1)
			}
		})
	}
	all.Wait()
	if n := free.Load(); n != 5 {
		t.Errorf("%d tries", n)
	}
	for i := range maxCounted {
		tries.BeginTry(t.Context(), []Count{{Key: fmt.Sprint(i), Free: 1}, {Key: fmt.Sprint("x", i), Free: 1}})
	}
	if len(tries.wrong) > maxCounted {
		t.Errorf("%d are kept", len(tries.wrong))
	}
}

// TestTriesWait: the wait doubles up to its bound, and a count ends after an hour.
func TestTriesWait(t *testing.T) {
	now := time.Unix(1e9, 0)
	tries := Tries{Now: func() time.Time { return now }}
	counts := []Count{{Key: "ann", Free: 1, Ends: true}}
	tries.BeginTry(t.Context(), counts)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
		wait := tries.BeginTry(t.Context(), counts)
		if wait != want*time.Second {
			t.Errorf("waits %s, want %ds", wait, want)
		}
		now = now.Add(wait)
		if again := tries.BeginTry(t.Context(), counts); again > 0 {
			t.Errorf("waits %s more", again)
		}
	}
	now = now.Add(triesForgotten)
	tries.BeginTry(t.Context(), counts)
	if wait := tries.BeginTry(t.Context(), counts); wait != time.Second {
		t.Errorf("after an hour: waits %s", wait)
	}
}
