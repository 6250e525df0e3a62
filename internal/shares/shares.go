// Package shares divides what there is a bounded number of, such as queries in flight or
// connections, among those who take of it.
package shares

import "sync"

// Shares counts what each taker holds. The bounds are set before it is used, by several
// goroutines if need be. When more than half of all is taken, a taker gets less, so a few
// greedy ones leave some for others.
type Shares[K comparable] struct {
	All    int // what there is; 0 is no bound in sum
	Each   int // what one taker may have
	Scarce int // the same when half of All is taken; 0 is Each

	mu    sync.Mutex
	held  map[K]int
	total int
}

// Take reports whether a taker may have n more. What was taken is given back by Give.
func (s *Shares[K]) Take(taker K, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.All > 0 && s.total+n > s.All || s.held[taker]+n > s.most() {
		return false
	}
	if s.held == nil {
		s.held = map[K]int{}
	}
	s.total += n
	s.held[taker] += n
	return true
}

// most is what a taker may have now. The caller holds the lock.
func (s *Shares[K]) most() int {
	if s.Scarce > 0 && s.total >= s.All/2 {
		return s.Scarce
	}
	return s.Each
}

// Full reports whether n more would be more than a taker may have, even if there were
// enough, and the bound that it is over.
func (s *Shares[K]) Full(taker K, n int) (full bool, bound int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[taker]+n > s.Each {
		return true, s.Each
	}
	return s.held[taker]+n > s.most(), s.most()
}

// Give gives back n that a taker has taken.
func (s *Shares[K]) Give(taker K, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total -= n
	if s.held[taker] -= n; s.held[taker] == 0 {
		delete(s.held, taker)
	}
}

// Taken is how much is taken in all.
func (s *Shares[K]) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
