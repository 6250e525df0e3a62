package fleet

import (
	"context"
	"sync"
	"time"
)

// syncSpacing is the least time between the beginnings of two syncs.
const syncSpacing = 250 * time.Millisecond

// flights lets any number of calls share syncs. One is under way at a time, and a call has
// the result of one that began after the call, so that it knows what the caller knows.
type flights struct {
	sync func(context.Context) error

	mu     sync.Mutex // guards the rest; a leaf
	next   *flight    // has not begun; nil if nobody waits for one
	now    *flight    // is under way
	last   time.Time  // when the latest one began
	flying bool       // the goroutine of fly runs
}

// flight is one sync.
type flight struct {
	done   chan struct{}
	err    error // set before done is closed
	cancel context.CancelFunc
}

// wait returns how a sync ended that began after the call, or ctx's error when that ends.
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
	if !f.flying {
		f.flying = true
		go f.fly() // ends when nobody waits any more; stop waits for it
	}
	return f.next
}

// fly syncs for as long as anybody waits for it. How long one takes is bounded by askTimeout.
func (f *flights) fly() {
	for {
		f.mu.Lock()
		pause := time.Until(f.last.Add(syncSpacing))
		f.mu.Unlock()
		time.Sleep(pause) // who joins meanwhile gets the same one
		f.mu.Lock()
		mine := f.next
		f.next, f.now = nil, mine
		if mine == nil {
			f.flying = false
			f.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		mine.cancel, f.last = cancel, time.Now()
		f.mu.Unlock()
		mine.err = f.sync(ctx)
		cancel()
		close(mine.done)
	}
}

// stop cancels the sync that is under way, and waits for it.
func (f *flights) stop() {
	f.mu.Lock()
	mine := f.now
	f.mu.Unlock()
	if mine != nil {
		mine.cancel()
		<-mine.done
	}
}
