package filesystem

import (
	"testing"
	"time"

	"shoal/internal/envd/watch"
)

// TestWatchersThatNobodyPolls are forgotten, and there may only be so many.
func TestWatchersThatNobodyPolls(t *testing.T) {
	var group watch.Group
	defer group.Close()
	add := func(p *polled) (string, bool) {
		w, err := group.New(t.TempDir(), watch.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p.add(w)
	}
	kept := polled{idle: time.Hour}
	id, _ := add(&kept)
	if _, ok := kept.find(id); !ok || !kept.remove(id) || kept.remove(id) || len(kept.byID) != 0 {
		t.Error("a watcher is not there until it is removed")
	}

	forgetting := polled{idle: time.Millisecond}
	if _, ok := add(&forgetting); !ok {
		t.Fatal("there are too many")
	}
	for end := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		forgetting.mu.Lock()
		left := len(forgetting.byID)
		forgetting.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a watcher that nobody polls is still there")
		}
	}

	full := polled{idle: time.Hour, byID: map[string]*polledWatcher{}}
	for range maxPolled {
		full.byID[watcherID()] = nil
	}
	if _, ok := add(&full); ok {
		t.Error("there is no bound")
	}
}
