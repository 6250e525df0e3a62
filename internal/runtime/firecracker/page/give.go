package page

import (
	"errors"

	"golang.org/x/sys/unix"
)

// give answers a fault. If it may not wait for the disk, it is errWait where it would have to;
// errAgain if the kernel wants to tell of removed pages first; nil also if the page is there
// already, or its address is no memory any more.
func (s *Server) give(f fault, buf []byte, mayWait bool) error {
	r := s.c.regions[f.region]
	var n uint32
	var err error
	if r.Page == HugeSize {
		n, err = r.unit(), s.giveHuge(r, f.page, buf[:HugeSize], mayWait)
	} else {
		n, err = s.giveRun(r, f.page, ahead, zerosAhead, buf, mayWait)
	}
	if err == nil {
		s.mu.Lock()
		s.recorded.add(f.page, n)
		s.mu.Unlock()
	}
	return err
}

// giveRun gives pages from page on that are in one extent and that the guest does not have, at
// most so many of data or of zeros, and returns how many it did.
func (s *Server) giveRun(r region, page, limit, zeros uint32, buf []byte, mayWait bool) (uint32, error) {
	e := s.m.find(page, min(max(limit, zeros), r.end()-page))
	if s.gone.Has(page) || e.zero() {
		return s.giveZeros(r, page, min(zeros, r.end()-page))
	}
	n := 1 + s.missing(page+1, min(limit, e.count)-1)
	n, err := e.layer.read(buf[:n*Size], e.at, e.sum, mayWait)
	if err != nil {
		return 0, err
	}
	s.removing.RLock()
	defer s.removing.RUnlock()
	gone, same := s.gone.run(page, n)
	if gone { // meanwhile
		return s.zero(r, page, 1)
	}
	return s.copy(r, page, buf[:same*Size])
}

// missing returns how many pages from page on, at most limit, the guest does not have.
func (s *Server) missing(page, limit uint32) uint32 {
	has, n := s.given.run(page, limit)
	if has {
		return 0
	}
	return n
}

// giveZeros gives pages from page on that are zero, at most limit. The first one is.
func (s *Server) giveZeros(r region, page, limit uint32) (uint32, error) {
	s.removing.RLock()
	defer s.removing.RUnlock()
	n := uint32(1)
	for n < limit && !s.given.Has(page+n) {
		e := s.m.find(page+n, limit-n)
		if !e.zero() {
			if s.gone.Has(page + n) {
				n++
				continue
			}
			break
		}
		n += s.missing(page+n, e.count)
	}
	return s.zero(r, page, min(n, limit))
}

// giveHuge gives a huge page, which is put together from what the layers have.
func (s *Server) giveHuge(r region, page uint32, buf []byte, mayWait bool) error {
	for done := uint32(0); done < r.unit(); {
		e := s.m.find(page+done, r.unit()-done)
		part := buf[done*Size:][:e.count*Size]
		if e.zero() {
			clear(part)
			done += e.count
			continue
		}
		n, err := e.layer.read(part, e.at, e.sum, mayWait)
		if err != nil {
			return err
		}
		done += n
	}
	s.removing.RLock()
	defer s.removing.RUnlock()
	for done := uint32(0); done < r.unit(); {
		gone, n := s.gone.run(page+done, r.unit()-done)
		if gone {
			clear(buf[done*Size:][:n*Size])
		}
		done += n
	}
	_, err := s.copy(r, page, buf)
	return err
}

// copy gives pages to the guest that are not gone. s.removing is held for reading.
func (s *Server) copy(r region, page uint32, p []byte) (uint32, error) {
	done, err := s.c.fault.copy(r.address(page), p)
	n, err := s.gave(r, page, done, err)
	s.counts.copied.Add(int64(n))
	return n, err
}

// zero gives pages to the guest that are zero. s.removing is held for reading.
func (s *Server) zero(r region, page, count uint32) (uint32, error) {
	done, err := s.c.fault.zero(r.address(page), uint64(count)*Size)
	n, err := s.gave(r, page, done, err)
	s.counts.zeroed.Add(int64(n))
	return n, err
}

// gave notes what the kernel did, and returns how many pages that were. That it did a part is no
// error, nor that there was nothing to do.
func (s *Server) gave(r region, page uint32, done uint64, err error) (uint32, error) {
	n := uint32(done / Size)
	s.given.Add(page, n)
	switch {
	case err == nil || n > 0:
		return n, nil
	case errors.Is(err, unix.EEXIST):
		s.given.Add(page, r.unit())
		s.c.fault.wake(r.address(page), r.Page) // who came too late for the first answer
		return 0, nil
	case errors.Is(err, unix.ENOENT): // no memory of the guest's any more, so nobody waits
		return 0, nil
	}
	return 0, s.explain(err, r)
}
