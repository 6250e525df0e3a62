package page

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// ahead is how many pages of data a fault brings, if they follow each other in a layer and
	// the host has them in its page cache: what a guest reads is mostly near what it read.
	ahead = 8
	// zerosAhead is that for zeros, which take no memory. A guest that fills memory which it has
	// not used yet then faults once for them all.
	zerosAhead = 64
	// maxReads is how many faults wait for the disk at once.
	maxReads = 64
	// maxMessages is how many faults are taken from the kernel at once.
	maxMessages = 32
)

// Options are what a server can be given besides what it serves.
type Options struct {
	// WorkingSet is what the guest is expected to need first. It is given to it in the
	// background, by and by. If it is nil, the server records one.
	WorkingSet *WorkingSet
}

// Server answers the faults of one guest from a snapshot's memory: build it, Run it, Close the
// Client and the Memory. It outlives nothing and is no global; whoever must outlive the
// orchestrator is the process that it runs in.
//
// When it ends before the guest does, the guest stands still at its next fault and cannot be
// paused any more, so its Firecracker must be ended.
type Server struct {
	m    *Memory
	c    *Client
	set  *WorkingSet
	kick int // eventfd that wakes loop

	// removing is held for reading while pages are given to the guest, from when it is known that
	// they were not removed, and for writing while the kernel tells of such that are.
	removing sync.RWMutex
	// gone has the pages that were removed at some time. One that is missing again is zero.
	gone *Set
	// unsaved has those that were removed since Forget.
	unsaved *Set
	// given has the pages that the guest has, as far as is known.
	given *Set

	// turn is held while faults are answered, and is taken before each part that is given ahead.
	turn sync.Mutex

	mu       sync.Mutex // a leaf
	returned []fault    // from readers, to be tried again by loop
	recorded recorder

	buffers sync.Pool // of *[]byte for readers
	reads   chan struct{}
	counts  counts
}

// fault is a page that the guest waits for.
type fault struct {
	region int
	page   uint32 // a multiple of the region's unit
}

type counts struct {
	faults, copied, zeroed, prefetched, removed, retried, waited atomic.Int64
}

// Stats is what a server has done so far.
type Stats struct {
	Faults     int64 // that the kernel told of
	Copied     int64 // pages, those that were prefetched included
	Zeroed     int64 // pages, those that were prefetched included
	Prefetched int64 // pages
	Removed    int64 // pages that the guest gave back
	Retried    int64 // answers that had to wait for the kernel to tell of such pages
	Waited     int64 // faults that waited for the disk
}

// NewServer makes a server of a memory for a client.
func NewServer(m *Memory, c *Client, o Options) *Server {
	s := &Server{m: m, c: c, set: o.WorkingSet, gone: NewSet(m.pages), unsaved: NewSet(m.pages),
		given: NewSet(m.pages), reads: make(chan struct{}, maxReads)}
	if o.WorkingSet == nil {
		s.recorded = recorder{set: &WorkingSet{pages: m.pages}, has: NewSet(m.pages)}
	}
	s.buffers.New = func() any {
		b := make([]byte, s.bufferSize())
		return &b
	}
	return s
}

func (s *Server) bufferSize() int {
	for _, r := range s.c.regions {
		if r.Page == HugeSize {
			return HugeSize
		}
	}
	return max(ahead, piece) * Size
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.counts
	return Stats{Faults: c.faults.Load(), Copied: c.copied.Load(), Zeroed: c.zeroed.Load(),
		Prefetched: c.prefetched.Load(), Removed: c.removed.Load(), Retried: c.retried.Load(), Waited: c.waited.Load()}
}

// Removed has the pages that the guest has given back since Forget. It is for Dump, while the
// guest is paused.
func (s *Server) Removed() *Set { return s.unsaved.Clone() }

// Forget takes out of Removed what a snapshot knows now.
func (s *Server) Forget(saved *Set) { s.unsaved.Subtract(saved) }

// Recorded is what the guest has faulted for so far, and ends the recording. It is nil if the
// server has a working set, or if it was called before. A good time is when the guest answers
// what it was restored for.
func (s *Server) Recorded() *WorkingSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := s.recorded.set
	s.recorded = recorder{}
	return set
}

var (
	// errGone means that the guest's process has ended.
	errGone = errors.New("the guest has ended")
	// errAgain means that the kernel wants to tell of removed pages first.
	errAgain = errors.New("pages are being removed")
)

// Run answers faults until the guest's process ends or ctx does; both are no error. A page that
// is damaged or cannot be read is one: nothing is given to the guest for it, which waits, and
// whoever runs the server ends the guest. Run may be called once.
//
// It starts goroutines: one that prefetches, and one for each fault that waits for the disk. All
// have ended when it returns.
func (s *Server) Run(parent context.Context) (err error) {
	if s.kick, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("begin to serve a guest's memory: %w", err)
	}
	ctx, cancel := context.WithCancelCause(parent)
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		s.wakeLoop()
		close(ended)
	})
	var others sync.WaitGroup
	if s.set != nil {
		// An error ends this alone: a fault for the same page, if there is one, meets it too.
		others.Go(func() { _ = s.prefetch(ctx) })
	}
	err = s.loop(ctx, &others, cancel)
	cancel(err)
	others.Wait()
	<-ended
	unix.Close(s.kick)
	if asked := context.Cause(parent); errors.Is(err, errGone) || asked != nil && errors.Is(err, asked) {
		return nil
	}
	return err
}

// wakeLoop has the loop look again. Run's goroutines and its context's end call it; the
// descriptor is closed after them.
func (s *Server) wakeLoop() {
	_, _ = unix.Write(s.kick, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full is awake too
}

// loop reads what the kernel tells and answers what it can at once.
func (s *Server) loop(ctx context.Context, readers *sync.WaitGroup, cancel context.CancelCauseFunc) error {
	buf := make([]byte, s.bufferSize())
	var waiting []fault
	for {
		if err := s.wait(len(waiting) > 0); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// All that the kernel has to tell is read first: while pages are being removed, no others
		// can be given.
		for {
			more, err := s.readMessages(&waiting)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
		s.mu.Lock()
		waiting = append(waiting, s.returned...)
		s.returned = s.returned[:0]
		s.mu.Unlock()
		s.turn.Lock()
		left := waiting[:0]
		var err error
		for _, f := range waiting {
			var again bool
			if again, err = s.answer(ctx, f, buf, readers, cancel); err != nil {
				break
			}
			if again {
				left = append(left, f)
			}
		}
		s.turn.Unlock()
		if err != nil {
			return err
		}
		waiting = left
	}
}

// retryNanoseconds is when a fault is tried again that had to wait for the kernel: the thread
// that removes pages goes on when it has been told of, and the kernel does not say when.
const retryNanoseconds = 50_000

// wait returns when there may be something to do, or, if a fault is to be tried again, soon.
func (s *Server) wait(again bool) error {
	fds := []unix.PollFd{{Fd: int32(s.c.fault), Events: unix.POLLIN}, {Fd: int32(s.kick), Events: unix.POLLIN},
		{Fd: int32(s.c.process), Events: unix.POLLIN}} // -1 is left out
	var timeout *unix.Timespec
	if again {
		timeout = &unix.Timespec{Nsec: retryNanoseconds}
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for faults: %w", err)
	}
	if fds[2].Revents != 0 {
		return errGone
	}
	if fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
		return errors.New("wait for faults: the descriptor cannot be waited for")
	}
	if fds[1].Revents != 0 {
		_, _ = unix.Read(s.kick, make([]byte, 8))
	}
	return nil
}

// readMessages takes what the kernel tells, and adds the faults to those that wait.
func (s *Server) readMessages(waiting *[]fault) (more bool, err error) {
	var buf [maxMessages * messageSize]byte
	// A page must not be given between the moments when the kernel has told that it is being
	// removed, and goes on with that, and when it is known here.
	s.removing.Lock()
	defer s.removing.Unlock()
	n, err := unix.Read(int(s.c.fault), buf[:])
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	case errors.Is(err, unix.EINTR):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read faults: %w", err)
	case n == 0:
		return false, errGone
	}
	for at := 0; at+messageSize <= n; at += messageSize {
		switch m := decodeMessage(buf[at:]); m.event {
		case eventPagefault:
			s.counts.faults.Add(1)
			if f, ok := s.faultAt(m.address); ok && !slices.Contains(*waiting, f) {
				*waiting = append(*waiting, f)
			}
		case eventRemove:
			s.remove(m.address, m.end)
		}
	}
	return n == len(buf), nil
}

// faultAt finds a page by its address. There is none outside of what Firecracker told of, and
// nothing to give then.
func (s *Server) faultAt(address uint64) (fault, bool) {
	for i, r := range s.c.regions {
		if r.contains(address) {
			page := r.page(address)
			return fault{region: i, page: page - page%r.unit()}, true
		}
	}
	return fault{}, false
}

// remove notes that pages are removed.
func (s *Server) remove(start, end uint64) {
	for _, r := range s.c.regions {
		if from, to := max(start, r.Base), min(end, r.Base+r.Bytes); from < to {
			first := r.page(from)
			count := r.page(to-1) + 1 - first
			s.gone.Add(first, count)
			s.unsaved.Add(first, count)
			s.given.Remove(first, count)
			s.counts.removed.Add(int64(count))
		}
	}
}

// answer gives a page to the guest, or has it read from the disk. It returns whether the fault
// is to be tried again.
func (s *Server) answer(ctx context.Context, f fault, buf []byte, readers *sync.WaitGroup,
	cancel context.CancelCauseFunc) (again bool, err error) {
	switch err := s.give(f, buf, false); {
	case err == nil:
		return false, nil
	case errors.Is(err, errAgain):
		s.counts.retried.Add(1)
		return true, nil
	case !errors.Is(err, errWait):
		return false, err
	}
	select {
	case s.reads <- struct{}{}:
	default:
		return true, nil
	}
	s.counts.waited.Add(1)
	readers.Go(func() {
		buf := s.buffers.Get().(*[]byte)
		err := s.give(f, *buf, true)
		s.buffers.Put(buf)
		<-s.reads
		if errors.Is(err, errAgain) && ctx.Err() == nil {
			s.mu.Lock()
			s.returned = append(s.returned, f)
			s.mu.Unlock()
			s.wakeLoop()
		} else if err != nil {
			cancel(err)
		}
	})
	return false, nil
}

// explain names errors of the calls that give pages.
func (s *Server) explain(err error, r region) error {
	switch {
	case errors.Is(err, unix.ESRCH):
		return errGone
	case errors.Is(err, unix.EAGAIN):
		return errAgain
	case r.Page == HugeSize && (errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC)):
		return fmt.Errorf("the host has no huge page left for a guest whose memory consists of them (%w): "+
			"reserve more, as by `sysctl vm.nr_hugepages`, or run fewer guests of templates with huge pages", err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("the host has no memory left for a guest, or its control group allows no more: %w", err)
	}
	return fmt.Errorf("give a guest its memory: %w", os.NewSyscallError("userfaultfd", err))
}
