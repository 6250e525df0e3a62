package auth

import (
	"sync"
	"time"
)

// maxCached bounds one cache. Only what the store knows is cached, so guessed keys cannot fill
// it; many keys in use at once can.
const maxCached = 10_000

// cache keeps what the store has answered for CacheTTL.
type cache[V any] struct {
	now func() time.Time

	mu      sync.Mutex // guards the rest
	entries map[string]cached[V]
	cleared int // how often it was cleared
}

type cached[V any] struct {
	value V
	until time.Time
}

func newCache[V any](now func() time.Time) *cache[V] {
	return &cache[V]{now: now, entries: map[string]cached[V]{}}
}

// get returns the value of a key, which load finds if it is not cached.
func (c *cache[V]) get(key string, load func() (V, error)) (V, error) {
	now := c.now()
	c.mu.Lock()
	entry, ok := c.entries[key]
	before := c.cleared
	c.mu.Unlock()
	if ok && now.Before(entry.until) {
		return entry.value, nil
	}
	value, err := load()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		delete(c.entries, key)
	case c.cleared == before: // otherwise the value may be older than what it was cleared for
		c.makeRoom(now)
		c.entries[key] = cached[V]{value: value, until: now.Add(CacheTTL)}
	}
	return value, err
}

// makeRoom is called with c.mu held.
func (c *cache[V]) makeRoom(now time.Time) {
	if len(c.entries) < maxCached {
		return
	}
	for key, entry := range c.entries {
		if !now.Before(entry.until) {
			delete(c.entries, key)
		}
	}
	if len(c.entries) >= maxCached {
		clear(c.entries)
	}
}

func (c *cache[V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cleared++
	clear(c.entries)
}
