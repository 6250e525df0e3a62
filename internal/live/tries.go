package live

import (
	"context"
	"sync"
	"time"
)

const (
	firstWait   = time.Second
	longestWait = 15 * time.Minute
	// triesForgotten is how long after the last try a count ends.
	triesForgotten = time.Hour
	maxCounted     = 10_000
	// mostDoubled is how often the first wait is doubled at most; longestWait bounds it before.
	mostDoubled = 20
)

// Count is something that wrong tries are counted by, such as an account.
type Count struct {
	Key  string
	Free int  // so many wrong tries cost nothing; the more there are beyond, the longer the next ones wait
	Ends bool // a right try ends the count; otherwise it takes itself back
}

// Tries counts wrong tries in the memory of this process, of a bounded number of keys.
type Tries struct {
	Now func() time.Time

	mu    sync.Mutex // guards the rest; a leaf
	wrong map[string]tryCount
}

type tryCount struct {
	number int
	last   time.Time
	until  time.Time
}

// BeginTry counts a try as wrong, which RightTry takes back, so that tries side by side are no more than
// those one after the other. It returns how long to wait if it may not be made.
func (t *Tries) BeginTry(_ context.Context, counts []Count) (wait time.Duration) {
	now := t.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counts {
		wait = max(wait, t.wrong[c.Key].until.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	t.makeRoom(now, len(counts))
	for _, c := range counts {
		have := t.wrong[c.Key]
		if now.Sub(have.last) >= triesForgotten {
			have = tryCount{}
		}
		have.number, have.last = have.number+1, now
		if over := have.number - c.Free; over >= 0 {
			have.until = now.Add(min(longestWait, firstWait<<min(over, mostDoubled)))
		}
		t.wrong[c.Key] = have
	}
	return 0
}

// RightTry ends the counts that a right try ends, and takes one try back from the others.
func (t *Tries) RightTry(_ context.Context, counts []Count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counts {
		have := t.wrong[c.Key]
		if have.number--; have.number <= 0 || c.Ends {
			delete(t.wrong, c.Key)
			continue
		}
		have.until = time.Time{}
		t.wrong[c.Key] = have
	}
}

// makeRoom is called with t.mu held.
func (t *Tries) makeRoom(now time.Time, room int) {
	if t.wrong == nil {
		t.wrong = map[string]tryCount{}
	}
	if len(t.wrong)+room <= maxCounted {
		return
	}
	for key, c := range t.wrong {
		if now.Sub(c.last) >= triesForgotten {
			delete(t.wrong, key)
		}
	}
	for key := range t.wrong { // any: who fills this has many addresses anyway
		if len(t.wrong)+room <= maxCounted {
			return
		}
		delete(t.wrong, key)
	}
}
