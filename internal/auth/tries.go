package auth

import (
	"net/netip"
	"sync"
	"time"

	"shoal/internal/shares"
)

// A wrong password makes the next ones wait: the more there were, the longer. They count by account
// and source together, by source alone, and by account alone, which is bounded last, so that nobody
// locks another out with a few tries.
const (
	triesOfBoth    = 5
	triesOfSource  = 20
	triesOfAccount = 100
	firstWait      = time.Second
	longestWait    = 15 * time.Minute
	// triesForgotten is how long after the last try a count ends.
	triesForgotten = time.Hour
	maxCounted     = 10_000
)

// tries counts wrong passwords, of accounts that there are and that there are not.
type tries struct {
	now func() time.Time

	mu    sync.Mutex // guards the rest
	wrong map[tryKey]tryCount
}

type tryKey struct {
	account string
	source  netip.Addr
}

type tryCount struct {
	number int
	last   time.Time
	until  time.Time
}

func newTries(now func() time.Time) *tries { return &tries{now: now, wrong: map[tryKey]tryCount{}} }

// bounds are the counts of a try, with how many are free.
func bounds(account string, source netip.Addr) map[tryKey]int {
	source = shares.SourceOf(source)
	return map[tryKey]int{{account, source}: triesOfBoth, {"", source}: triesOfSource,
		{account, netip.Addr{}}: triesOfAccount}
}

// begin counts a try as wrong, which right takes back, so that tries side by side are no more than
// those one after the other. It returns how long to wait if it may not be made.
func (t *tries) begin(account string, source netip.Addr) (wait time.Duration) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := bounds(account, source)
	for key := range keys {
		wait = max(wait, t.wrong[key].until.Sub(now))
	}
	if wait > 0 {
		return wait
	}
	t.makeRoom(now, len(keys))
	for key, free := range keys {
		c := t.wrong[key]
		if now.Sub(c.last) >= triesForgotten {
			c = tryCount{}
		}
		c.number, c.last = c.number+1, now
		if over := c.number - free; over >= 0 {
			c.until = now.Add(min(longestWait, firstWait<<min(over, 20)))
		}
		t.wrong[key] = c
	}
	return 0
}

// right ends the counts of an account from a source, and takes one try back from the others.
func (t *tries) right(account string, source netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range bounds(account, source) {
		c := t.wrong[key]
		if c.number--; c.number <= 0 || (key.account != "" && key.source.IsValid()) {
			delete(t.wrong, key)
			continue
		}
		c.until = time.Time{}
		t.wrong[key] = c
	}
}

// makeRoom is called with t.mu held.
func (t *tries) makeRoom(now time.Time, room int) {
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
