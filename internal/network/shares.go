package network

import (
	"net/netip"
	"sync"
)

// shares divides a bounded thing among guests: queries in flight, or connections. When more
// than half of it is taken, a guest gets less, so a few greedy guests leave some for others.
type shares struct {
	all    int // what there is
	each   int // what one guest may have
	scarce int // the same when more than half is taken

	mu    sync.Mutex
	held  map[netip.Addr]int
	total int
}

// take reports whether the guest may have one more. What was taken is given back by give.
func (s *shares) take(guest netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.each
	if s.total >= s.all/2 {
		most = s.scarce
	}
	if s.total >= s.all || s.held[guest] >= most {
		return false
	}
	if s.held == nil {
		s.held = map[netip.Addr]int{}
	}
	s.total++
	s.held[guest]++
	return true
}

func (s *shares) give(guest netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.held[guest]--; s.held[guest] == 0 {
		delete(s.held, guest)
	}
}
