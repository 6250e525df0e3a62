package page

import (
	"math/bits"
	"sync/atomic"
)

// Set is a set of pages of a guest's memory. It is safe for concurrent use; what is done to
// several pages at once is not done in one step.
type Set struct {
	words []atomic.Uint64
	pages uint32
}

// NewSet makes an empty set of pages below a number.
func NewSet(pages uint32) *Set {
	return &Set{words: make([]atomic.Uint64, (uint64(pages)+63)/64), pages: pages}
}

// Has is false for pages that cannot be in the set.
func (s *Set) Has(page uint32) bool {
	return page < s.pages && s.words[page/64].Load()&(1<<(page%64)) != 0
}

// Add adds count pages from first on, as far as they can be in the set.
func (s *Set) Add(first, count uint32) {
	s.each(first, count, func(w *atomic.Uint64, mask uint64) { w.Or(mask) })
}

// Remove takes count pages from first on out of the set.
func (s *Set) Remove(first, count uint32) {
	s.each(first, count, func(w *atomic.Uint64, mask uint64) { w.And(^mask) })
}

// each calls change for the words of a range of pages.
func (s *Set) each(first, count uint32, change func(w *atomic.Uint64, mask uint64)) {
	end := min(uint64(first)+uint64(count), uint64(s.pages))
	for at := uint64(first); at < end; {
		n := min(64-at%64, end-at)
		change(&s.words[at/64], (^uint64(0)>>(64-n))<<(at%64))
		at += n
	}
}

// run returns how many pages from first on, at most limit, are all in the set, or all not.
func (s *Set) run(first, limit uint32) (in bool, count uint32) {
	in = s.Has(first)
	for limit = min(limit, s.pages-min(first, s.pages)); count < limit; {
		at := first + count
		w := s.words[at/64].Load()
		if in {
			w = ^w
		}
		rest := w >> (at % 64)
		n := uint32(bits.TrailingZeros64(rest)) // 64 if there is none
		n = min(n, 64-at%64)
		count += n
		if n < 64-at%64 {
			break
		}
	}
	return in, min(count, limit)
}

// Clone copies the set.
func (s *Set) Clone() *Set {
	c := NewSet(s.pages)
	for i := range s.words {
		c.words[i].Store(s.words[i].Load())
	}
	return c
}

// Subtract takes the pages of another set out of this one, which is as large.
func (s *Set) Subtract(other *Set) {
	for i := range min(len(s.words), len(other.words)) {
		s.words[i].And(^other.words[i].Load())
	}
}

// Len is how many pages the set has.
func (s *Set) Len() int {
	n := 0
	for i := range s.words {
		n += bits.OnesCount64(s.words[i].Load())
	}
	return n
}
