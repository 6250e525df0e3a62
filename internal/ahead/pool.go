// Package ahead is what is started ahead of demand: a pool of things that wait to be taken,
// and how often each kind of them was asked for lately.
package ahead

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Item is something that was started ahead. It may end by itself while it waits.
type Item interface{ Ended() bool }

// Pool holds items by what they are good for. Nothing is locked while mu is held.
type Pool[K comparable, T Item] struct {
	mu     sync.Mutex
	ready  map[K][]T
	demand map[K]demand
	taken  chan<- struct{}
}

// NewPool makes a pool that sends on taken at each Take, unless the channel is full.
func NewPool[K comparable, T Item](taken chan<- struct{}) *Pool[K, T] {
	return &Pool[K, T]{ready: map[K][]T{}, demand: map[K]demand{}, taken: taken}
}

// Take takes out an item that lives and fits, if there is one, and counts the demand.
func (p *Pool[K, T]) Take(key K, now time.Time, fits func(T) bool) (item T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.demand[key]
	p.demand[key] = demand{score: d.now(now) + 1, at: now}
	select {
	case p.taken <- struct{}{}:
	default: // who fills the pool has something to do already
	}
	list := p.ready[key]
	at := slices.IndexFunc(list, func(t T) bool { return !t.Ended() && fits(t) })
	if at < 0 {
		return item, false
	}
	item = list[at]
	p.ready[key] = slices.Delete(list, at, at+1)
	return item, true
}

// Add makes an item ready.
func (p *Pool[K, T]) Add(key K, item T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready[key] = append(p.ready[key], item)
}

// Ready returns how many items of a key wait and live.
func (p *Pool[K, T]) Ready(key K) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, item := range p.ready[key] {
		if !item.Ended() {
			n++
		}
	}
	return n
}

// Size returns how many items wait.
func (p *Pool[K, T]) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, list := range p.ready {
		n += len(list)
	}
	return n
}

// Surplus takes out the items that have ended, and those beyond the wanted numbers.
func (p *Pool[K, T]) Surplus(wanted map[K]int) []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []T
	for key, list := range p.ready {
		var kept []T
		for _, item := range list {
			if item.Ended() || len(kept) >= wanted[key] {
				out = append(out, item)
				continue
			}
			kept = append(kept, item)
		}
		if p.ready[key] = kept; len(kept) == 0 {
			delete(p.ready, key)
		}
	}
	return out
}

// Missing returns the key that lacks most of what is wanted.
func (p *Pool[K, T]) Missing(wanted map[K]int) (key K, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := 0
	for k, n := range wanted {
		if lack := n - len(p.ready[k]); lack > most {
			key, most, ok = k, lack, true
		}
	}
	return key, ok
}

// HalfLife is how fast past demand loses its weight.
const HalfLife = time.Minute

// forgotten is the score below which demand counts no more.
const forgotten = 0.1

// demand is how often something was asked for lately: each time counts 1, and half of it
// after HalfLife.
type demand struct {
	score float64
	at    time.Time
}

func (d demand) now(now time.Time) float64 {
	if d.at.IsZero() {
		return 0
	}
	return d.score * math.Exp2(-now.Sub(d.at).Seconds()/HalfLife.Seconds())
}

// Demand returns the scores of what was asked for lately. The rest is forgotten.
func (p *Pool[K, T]) Demand(now time.Time) map[K]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[K]float64{}
	for key, d := range p.demand {
		score := d.now(now)
		if score < forgotten {
			delete(p.demand, key)
			continue
		}
		out[key] = score
	}
	return out
}
