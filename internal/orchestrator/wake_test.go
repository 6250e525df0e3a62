package orchestrator

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"shoal/internal/shoal"
)

func asleep() *sandbox { return &sandbox{id: "i1", view: shoal.Sandbox{State: shoal.StatePaused}} }

func never(t *testing.T) func(context.Context, shoal.Wake) error {
	return func(context.Context, shoal.Wake) error {
		t.Error("the machine decides alone")
		return nil
	}
}

func count(w *wakers) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.list)
}

// withWaker registers a waker for the time of a test.
func withWaker(t *testing.T, o *Orchestrator, resume func(context.Context, shoal.Wake) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	before := count(&o.wakers)
	go func() {
		defer close(done)
		_ = o.Wakes(ctx, resume)
	}()
	synctest.Wait()
	if count(&o.wakers) != before+1 {
		t.Error("the waker is not there")
	}
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestTrafficAsksWhoKnows: an api decides about traffic's wake-ups, once for all requests; a
// machine alone does only when there is none, or none that answers.
func TestTrafficAsksWhoKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Orchestrator{tasks: newTasks()}
		full := errors.New("full")
		ctx, w := t.Context(), shoal.Wake{SandboxID: "i1", TeamID: "t1", TeamLimit: 3}
		alone := 0
		byItself := func(context.Context, shoal.Wake) error { alone++; return nil }
		if err := o.wakers.wake(ctx, asleep(), w, byItself); err != nil || alone != 1 {
			t.Errorf("without an api: %v, %d", err, alone)
		}
		withWaker(t, o, func(context.Context, shoal.Wake) error { return shoal.ErrWakerGone })
		withWaker(t, o, func(ctx context.Context, _ shoal.Wake) error {
			<-ctx.Done() // it hangs
			return ctx.Err()
		})
		asked := 0
		let := make(chan struct{})
		withWaker(t, o, func(_ context.Context, got shoal.Wake) error {
			asked++
			if got != w {
				t.Errorf("asked for %+v", got)
			}
			<-let
			return full
		})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := o.wakers.wake(ctx, asleep(), w, never(t)); !errors.Is(err, full) {
					t.Errorf("got %v", err)
				}
			})
		}
		go func() { close(let) }()
		wg.Wait()
		if asked != 1 || count(&o.wakers) != 1 {
			t.Errorf("asked %d times; %d wakers are left", asked, count(&o.wakers))
		}
	})
}

// TestSlowResumeIsNoSilence: a waker that has begun a resume is waited for.
func TestSlowResumeIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, sb := &Orchestrator{tasks: newTasks()}, asleep()
		withWaker(t, o, func(ctx context.Context, _ shoal.Wake) error {
			tr, _, err := sb.begin(ctx, shoal.StateResuming, func(shoal.State) error { return nil })
			if err != nil {
				return err
			}
			<-time.After(2 * wakeTime)
			sb.end(tr, shoal.StateRunning, nil)
			return nil
		})
		if err := o.wakers.wake(t.Context(), sb, shoal.Wake{SandboxID: "i1"}, never(t)); err != nil {
			t.Error(err)
		}
	})
}
