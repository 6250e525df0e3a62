package orchestrator

import "sync"

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
