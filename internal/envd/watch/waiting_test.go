package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEventsThatNobodyTakes: files that are written again and again cost nothing more, and
// a watcher whose events would take too much memory says that it has lost some.
func TestEventsThatNobodyTakes(t *testing.T) {
	dir := t.TempDir()
	var group Group
	defer group.Close()
	w, err := group.New(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	change := func(name string, times int) {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for range times {
			if _, err := f.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			w.mu.Lock()
			w.read() // as the goroutine does, so that the kernel's queue does not overflow
			w.mu.Unlock()
		}
	}
	for i := range 20 {
		change(fmt.Sprintf("log%d", i%2), 1000)
	}
	events, err := w.Take()
	if err != nil || len(events) < repeatsFrom || len(events) > repeatsFrom+100 {
		t.Errorf("%d events, %v", len(events), err)
	}
	if n := group.waiting.Load(); n != 0 {
		t.Errorf("%d bytes are counted of none", n)
	}
	change("new", 2) // and from here on all are seen again
	if events, err := w.Take(); err != nil || len(events) != 3 {
		t.Errorf("%v, %v", events, err)
	}

	long := strings.Repeat("n", 240)
	for i := 0; err == nil; i++ {
		if i > maxWaiting/len(long) {
			t.Fatal("it takes more than it may")
		}
		w.mu.Lock()
		w.add(Event{Name: fmt.Sprint(long, i), Op: Create})
		err = w.err
		w.mu.Unlock()
	}
	for range 2 {
		if _, err := w.Take(); !errors.Is(err, ErrOverflow) {
			t.Errorf("after too many: %v", err)
		}
	}
	if n := group.waiting.Load(); n != 0 {
		t.Errorf("a broken watcher keeps %d bytes", n)
	}
}

// TestAllWatchersTogether: many watchers do not multiply what one may keep.
func TestAllWatchersTogether(t *testing.T) {
	var group Group
	defer group.Close()
	broken := 0
	for range 2 * maxWaitingAll / maxWaiting {
		w, err := group.New(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		for i := range maxWaiting / (eventCost + 5000) {
			w.add(Event{Name: fmt.Sprintf("%05000d", i), Op: Create})
		}
		if w.err != nil {
			broken++
		}
		w.mu.Unlock()
		if n := group.waiting.Load(); n > maxWaitingAll {
			t.Fatalf("%d bytes wait", n)
		}
	}
	if broken == 0 {
		t.Error("no watcher is broken")
	}
}
