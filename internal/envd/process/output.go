package process

import (
	"sync"

	pb "shoal/internal/envdapi/gen/process"
)

// queueLength is how many chunks a subscriber may lag behind before the
// process has to wait for it (envd.md §2.4).
const queueLength = 64

// output hands each chunk that a process prints to all who are subscribed at that moment.
// Without a subscriber the chunk is dropped. A slow subscriber blocks the process until it
// leaves or abandon is called.
type output struct {
	abandoned chan struct{}
	abandon   func() // closes abandoned once

	mu          sync.Mutex // not held while sending
	subscribers map[*subscriber]struct{}
	closed      bool
}

type subscriber struct {
	chunks chan *pb.ProcessEvent_DataEvent // closed at the process's end
	gone   chan struct{}
	leave  func() // closes gone once; to be called by everyone who subscribed
}

func newOutput() *output {
	o := &output{abandoned: make(chan struct{}), subscribers: map[*subscriber]struct{}{}}
	o.abandon = sync.OnceFunc(func() { close(o.abandoned) })
	return o
}

// subscribe delivers from now on. After the end it delivers nothing, at once.
func (o *output) subscribe() *subscriber {
	s := &subscriber{chunks: make(chan *pb.ProcessEvent_DataEvent, queueLength), gone: make(chan struct{})}
	s.leave = sync.OnceFunc(func() {
		close(s.gone)
		o.mu.Lock()
		delete(o.subscribers, s)
		o.mu.Unlock()
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		close(s.chunks)
	} else {
		o.subscribers[s] = struct{}{}
	}
	return s
}

func (o *output) publish(chunk *pb.ProcessEvent_DataEvent) {
	for _, s := range o.present() {
		select {
		case s.chunks <- chunk:
		case <-s.gone:
		case <-o.abandoned:
		}
	}
}

func (o *output) present() []*subscriber {
	o.mu.Lock()
	defer o.mu.Unlock()
	present := make([]*subscriber, 0, len(o.subscribers))
	for s := range o.subscribers {
		present = append(present, s)
	}
	return present
}

// close ends all subscriptions. Nothing may publish any more.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for s := range o.subscribers {
		close(s.chunks)
	}
	clear(o.subscribers)
}
