package live

import (
	"sync"
	"time"

	"shoal/internal/shares"
)

const (
	// advanceTime is how long what was taken ahead may be used; what is left then is gone.
	advanceTime = 2 * time.Second
	// advancePart is the part of a rate's burst, and advanceSeconds of what comes back, that one api takes
	// ahead at most, so that few calls wait for Redis. docs/several-apis.md states what this means.
	advancePart    = 1.0 / 200
	advanceSeconds = 1.0 / 20
)

// advances are what this api has taken of rates ahead of the calls that it is for. Since Redis has
// counted it, all apis together never grant more than the rate. Nothing is taken ahead once less than
// half of a burst is left, so whoever is near their limit gets exactly what they may.
type advances struct {
	mu sync.Mutex // guards of; a leaf
	of map[string]*advance
}

// advance is a taker's.
type advance struct {
	rate   shares.Rate
	left   int     // may be granted without asking
	level  float64 // what Redis had besides
	at     time.Time
	asking bool // somebody asks for more; the others ask for themselves
}

// take grants one if it was taken ahead. If not, it says how much to ask for besides; unless that is 0,
// put must follow.
func (s *advances) take(taker string, rate shares.Rate, now time.Time) (_ shares.Allowance, ok bool, ahead int) {
	ahead = int(min(rate.Burst*advancePart, rate.PerSecond*advanceSeconds))
	if ahead == 0 {
		return shares.Allowance{}, false, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of[taker]
	switch {
	case a == nil:
		if a = s.add(taker, now); a == nil {
			return shares.Allowance{}, false, 0
		}
	case a.left > 0 && a.rate == rate && now.Sub(a.at) < advanceTime:
		a.left--
		back := now.Sub(a.at).Seconds() * rate.PerSecond
		return rate.Allow(true, min(a.level+float64(a.left)+back, rate.Burst), 1), true, 0
	case a.asking:
		return shares.Allowance{}, false, 0
	}
	a.asking = true
	return shares.Allowance{}, false, ahead
}

// put keeps what was taken ahead, which may be nothing.
func (s *advances) put(taker string, rate shares.Rate, got int, level float64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if got == 0 {
		delete(s.of, taker)
		return
	}
	s.of[taker] = &advance{rate: rate, left: got, level: level, at: now}
}

// add makes an entry without anything in it, or nil if there are too many; s.mu is held.
func (s *advances) add(taker string, now time.Time) *advance {
	if s.of == nil {
		s.of = map[string]*advance{}
	}
	if len(s.of) >= maxTakers {
		for taker, a := range s.of {
			if !a.asking && now.Sub(a.at) >= advanceTime {
				delete(s.of, taker)
			}
		}
	}
	if len(s.of) >= maxTakers {
		return nil
	}
	a := &advance{}
	s.of[taker] = a
	return a
}
