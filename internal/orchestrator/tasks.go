package orchestrator

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// tasks owns the goroutines that outlive the call that began them: the guests' watchers,
// ends that nobody waits for, and what goes on when its caller has waited long enough. Each
// ends with its guest, with its work, or when stopped is closed.
type tasks struct {
	sync.WaitGroup
	stopped chan struct{}
}

func newTasks() *tasks { return &tasks{stopped: make(chan struct{})} }

// stop asks all of them to end, and waits until they have.
func (t *tasks) stop() {
	close(t.stopped)
	t.Wait()
}

// context returns a context with the values of ctx, which ends when the tasks are stopped. The
// task has to call cancel.
func (t *tasks) context(ctx context.Context) (_ context.Context, cancel func()) {
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() { // ends with the context
		select {
		case <-t.stopped:
			end()
		case <-ctx.Done():
		}
	}()
	return ctx, end
}

// outlast runs f to its end, whatever becomes of the caller, who waits no longer than ctx goes
// on. So a long save is answered in time, and is not cut off.
func outlast[T any](ctx context.Context, t *tasks, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	t.Go(func() {
		var r result
		defer func() {
			if p := recover(); p != nil { // as net/http would, in whose goroutine this was
				r.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			done <- r
		}()
		r.value, r.err = f(context.WithoutCancel(ctx))
	})
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("the machine goes on: %w", ctx.Err())
	}
}
