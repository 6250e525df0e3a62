package guest

import (
	"maps"
	"slices"
	"sync"
)

// running is the guests of a host that run. Its lock is a leaf.
type running struct {
	mu     sync.Mutex
	guests map[*Guest]struct{}
}

func (r *running) add(g *Guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.guests == nil {
		r.guests = map[*Guest]struct{}{}
	}
	r.guests[g] = struct{}{}
}

func (r *running) remove(g *Guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.guests, g)
}

func (r *running) all() []*Guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.guests))
}
