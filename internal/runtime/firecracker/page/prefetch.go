package page

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// window is how many pages of a working set are looked at together: within it they are given
	// in the order in which they lie, and not in which they were needed.
	window = 1024
	// gap is how many pages between two of a working set are given with them, rather than to begin
	// anew behind them.
	gap = 2
	// piece is how many pages are given at once. A fault that comes meanwhile waits for that.
	piece = 16
	// zeroPiece is that for zeros.
	zeroPiece = 128
)

// prefetch gives the guest what it is expected to need, and ends when that is done. Between two
// pieces, faults come first.
func (s *Server) prefetch(ctx context.Context) error {
	buf := make([]byte, s.bufferSize())
	runs := slices.Clone(s.set.runs) // nextWindow changes them
	next := nextWindow(&runs)
	s.readAhead(next)
	for len(next) > 0 {
		now := next
		next = nextWindow(&runs)
		s.readAhead(next)
		for _, r := range now {
			if err := s.prefetchRun(ctx, r, buf); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextWindow takes the runs of the next window, in order, with small gaps closed.
func nextWindow(left *[]run) (taken []run) {
	pages := uint32(0)
	for len(*left) > 0 && pages < window {
		r := &(*left)[0]
		n := min(r.count, window-pages)
		taken = append(taken, run{first: r.first, count: n})
		r.first, r.count, pages = r.first+n, r.count-n, pages+n
		if r.count == 0 {
			*left = (*left)[1:]
		}
	}
	slices.SortFunc(taken, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	joined := taken[:0]
	for _, r := range taken {
		if n := len(joined); n > 0 && r.first <= joined[n-1].end()+gap {
			joined[n-1].count = max(joined[n-1].end(), r.end()) - joined[n-1].first
			continue
		}
		joined = append(joined, r)
	}
	return joined
}

// readAhead has the disk begin to read what runs have.
func (s *Server) readAhead(runs []run) {
	for _, r := range runs {
		for page := r.first; page < min(r.end(), s.m.pages); {
			e := s.m.find(page, r.end()-page)
			if !e.zero() {
				e.layer.readAhead(e.at, e.count)
			}
			page += e.count
		}
	}
}

// prefetchRun gives pages that the guest does not have.
func (s *Server) prefetchRun(ctx context.Context, want run, buf []byte) error {
	for page := want.first; page < min(want.end(), s.m.pages); {
		f, ok := s.faultOf(page)
		if !ok {
			page++
			continue
		}
		if has, n := s.given.run(page, want.end()-page); has {
			page += max(n, 1)
			continue
		}
		s.turn.Lock()
		//nolint:staticcheck // an empty critical section: faults that wait have been answered
		s.turn.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := s.prefetchPiece(f, page, want.end()-page, buf)
		switch {
		case errors.Is(err, errAgain):
			// The loop reads what the kernel tells. It takes the thread that removes pages to go on.
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
		case err != nil:
			return err
		default:
			s.counts.prefetched.Add(int64(n))
			page = f.page + max(n, 1)
		}
	}
	return nil
}

// faultOf is the fault that a page would be.
func (s *Server) faultOf(page uint32) (fault, bool) {
	for i, r := range s.c.regions {
		if page >= r.first() && page < r.end() {
			return fault{region: i, page: page - page%r.unit()}, true
		}
	}
	return fault{}, false
}

// prefetchPiece gives some of the pages from page on, at most limit. What was removed is left
// to faults: it would take memory, and is not expected.
func (s *Server) prefetchPiece(f fault, page, limit uint32, buf []byte) (uint32, error) {
	r := s.c.regions[f.region]
	if r.Page == HugeSize {
		return r.unit(), s.giveHuge(r, f.page, buf[:HugeSize], true)
	}
	if gone, n := s.gone.run(page, limit); gone {
		return n, nil
	}
	return s.giveRun(r, page, min(piece, limit), min(zeroPiece, limit), buf, true)
}
