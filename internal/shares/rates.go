package shares

import (
	"sync"
	"time"
)

// Rates gives each taker so many of something a second, and some at once. The bounds are set
// before it is used, by several goroutines if need be.
type Rates[K comparable] struct {
	PerSecond float64
	Burst     float64
	// Takers is how many are told apart at once; those beyond it share one rate.
	Takers int

	mu     sync.Mutex
	takers map[K]*bucket
	rest   bucket
}

// bucket holds what one taker may take now.
type bucket struct {
	level float64
	at    time.Time // when level was right; zero is full
}

// Take reports whether a taker may have one more now.
func (r *Rates[K]) Take(taker K) bool { return r.takeAt(taker, time.Now()) }

func (r *Rates[K]) takeAt(taker K, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.of(taker, now)
	r.fill(b, now)
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

// Give gives one back that turned out not to count.
func (r *Rates[K]) Give(taker K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	b := r.of(taker, now)
	r.fill(b, now)
	b.level = min(b.level+1, r.Burst)
}

// of returns a taker's bucket; r.mu is held.
func (r *Rates[K]) of(taker K, now time.Time) *bucket {
	if b := r.takers[taker]; b != nil {
		return b
	}
	if len(r.takers) >= r.Takers {
		for key, b := range r.takers { // a full one is as good as none
			if r.fill(b, now); b.level == r.Burst {
				delete(r.takers, key)
			}
		}
	}
	if len(r.takers) >= r.Takers {
		return &r.rest
	}
	if r.takers == nil {
		r.takers = map[K]*bucket{}
	}
	b := &bucket{}
	r.takers[taker] = b
	return b
}

func (r *Rates[K]) fill(b *bucket, now time.Time) {
	if b.at.IsZero() {
		b.level = r.Burst
	} else {
		b.level = min(r.Burst, b.level+now.Sub(b.at).Seconds()*r.PerSecond)
	}
	b.at = now
}
