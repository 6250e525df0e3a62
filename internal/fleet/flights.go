package fleet

import (
	"context"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// syncSpacing is the least time between the beginnings of two syncs.
const syncSpacing = 250 * time.Millisecond

// flights lets any number of calls share syncs. One is under way at a time, and a call has
// the result of one that began after the call, so that it knows what the caller knows.
type flights struct {
	sync func(context.Context) error
	// ctx ends with stop: no sync begins any more, and the one under way is cut off.
	ctx context.Context
	end context.CancelFunc

	mu     sync.Mutex     // guards the rest; a leaf
	next   *flight        // has not begun; nil if nobody waits for one
	last   time.Time      // when the latest one began
	flying bool           // the goroutine of fly runs
	flier  sync.WaitGroup // that goroutine
}

// flight is one sync.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

func newFlights(sync func(context.Context) error) *flights {
	f := &flights{sync: sync}
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// wait returns how a sync ended that began after the call, or ctx's error when that ends.
// Once stopped, it is ErrUnavailable.
func (f *flights) wait(ctx context.Context) error {
	mine := f.join()
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *flights) join() *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = &flight{done: make(chan struct{})}
	}
	mine := f.next
	if f.ctx.Err() != nil {
		f.next = nil
		mine.end(errStopped())
	} else if !f.flying {
		f.flying = true
		f.flier.Go(f.fly) // ends when nobody waits any more, or with ctx
	}
	return mine
}

func errStopped() error { return shoal.ErrUnavailable.New("Shoal is shutting down") }

func (f *flight) end(err error) {
	f.err = err
	close(f.done)
}

// fly syncs for as long as anybody waits for it. How long one takes is bounded by askTimeout.
func (f *flights) fly() {
	for {
		f.mu.Lock()
		pause := time.Until(f.last.Add(syncSpacing))
		f.mu.Unlock()
		select {
		case <-time.After(pause): // who joins meanwhile gets the same one
		case <-f.ctx.Done():
		}
		f.mu.Lock()
		mine, stopped := f.next, f.ctx.Err() != nil
		f.next = nil
		f.flying = mine != nil && !stopped
		if f.flying {
			f.last = time.Now()
		}
		f.mu.Unlock()
		switch {
		case mine == nil:
			return
		case stopped:
			mine.end(errStopped())
			return
		}
		mine.end(f.sync(f.ctx))
	}
}

// stop cancels the sync that is under way, and waits for it. Those that others wait for do not
// begin any more.
func (f *flights) stop() {
	f.mu.Lock() // or the goroutine might begin while it is waited for
	f.end()
	f.mu.Unlock()
	f.flier.Wait()
}
