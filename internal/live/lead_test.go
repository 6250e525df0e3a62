package live

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"shoal/internal/live/livetest"
)

// worker leads a duty and counts what is at work.
type worker struct {
	atWork atomic.Int32
	stop   context.CancelFunc
	ended  chan error
}

func lead(t *testing.T, r *Redis, duty string) *worker {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	w := &worker{stop: cancel, ended: make(chan error, 1)}
	go func() {
		w.ended <- r.Lead(ctx, duty, func(ctx context.Context) error {
			w.atWork.Add(1)
			defer w.atWork.Add(-1)
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(cancel)
	return w
}

// TestLead: one does it, another takes over at once, all do while the server is away, and one again.
func TestLead(t *testing.T) {
	server := livetest.Start(t)
	var some []*worker
	for range 3 {
		some = append(some, lead(t, open(t, Config{URL: server.URL()}), "duty"))
	}
	other := lead(t, open(t, Config{URL: server.URL()}), "another")
	sum := func() (n int32, first *worker) {
		for _, w := range some {
			if w.atWork.Load() > 0 {
				first = w
			}
			n += w.atWork.Load()
		}
		return n, first
	}
	is := func(want int32) func() bool { return func() bool { n, _ := sum(); return n == want } }
	eventually(t, "one works", is(1))
	eventually(t, "another duty is done beside", func() bool { return other.atWork.Load() == 1 })
	_, first := sum()
	first.stop()
	if err := <-first.ended; err != nil {
		t.Error(err)
	}
	eventually(t, "another one works", is(1))
	if _, second := sum(); second == first {
		t.Error("it works after its end")
	}
	server.Kill()
	eventually(t, "both work", is(2))
	server.Restart()
	eventually(t, "one works again", is(1))
	if lasting, err := server.Lasting(t.Context()); err != nil || len(lasting) > 0 {
		t.Errorf("%q stay for ever, %v", lasting, err)
	}
}

// TestLeadFails: what work fails by ends Lead, and lets another begin.
func TestLeadFails(t *testing.T) {
	server := livetest.Start(t)
	r, next := open(t, Config{URL: server.URL()}), open(t, Config{URL: server.URL()})
	failed := errors.New("failed")
	if err := r.Lead(t.Context(), "duty", func(context.Context) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if !next.holds(t.Context(), "duty") {
		t.Error("the lease is held after the end")
	}
	if r.holds(t.Context(), "duty") {
		t.Error("two hold it")
	}
}
