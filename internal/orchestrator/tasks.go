package orchestrator

import (
	"context"
	"sync"
)

// tasks owns the goroutines that outlive the call that began them: the guests' watchers,
// and ends that nobody waits for. Each ends with its guest, with its work, or when stopped
// is closed.
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
