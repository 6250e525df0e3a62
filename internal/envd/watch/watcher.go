package watch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"shoal/internal/envd/file"
)

// ErrOverflow says that events were dropped, by the kernel or because too many were waiting
// to be taken, so the watcher is of no use any more.
var ErrOverflow = errors.New("the event queue overflowed; make a new watcher, and take its events more often")

const (
	// maxWaiting bounds what a watcher keeps of events that nobody has taken, in bytes, and
	// maxWaitingAll what all of them keep together.
	maxWaiting    = 16 << 20
	maxWaitingAll = 64 << 20
	// repeatsFrom is how many events wait before one that repeats the last of its name is
	// left out. Clients that take their events in time see all of them.
	repeatsFrom = 1024
	// eventCost and entryCost are what an event and its entry take besides their texts.
	eventCost, entryCost = 96, 512
)

// Event is one change.
type Event struct {
	Name string // relative to the watched directory; "." is the directory itself
	Op   Op
	// Entry describes what was created, written or got another mode, if that was asked for
	// and it still exists. A removed or renamed name has none, even when something new has
	// taken its place.
	Entry *file.Entry
}

// Options say what to watch.
type Options struct {
	Recursive bool
	// Describe makes entries for events; nil makes none.
	Describe func(path string) (file.Entry, error)
}

// Watcher collects events from its creation to Close, and breaks when more wait to be taken
// than it may keep.
type Watcher struct {
	tree   *tree
	file   *os.File // keeps the descriptor in the runtime's poller
	conn   syscall.RawConn
	group  *Group
	notify chan struct{} // has a token when there is something to take
	done   chan struct{} // closed when the reading goroutine ended

	mu     sync.Mutex // guards the rest and the tree; held while reading
	buf    []byte
	events []Event
	cost   int           // of events, in bytes
	last   map[string]Op // of each name among events
	err    error         // set once; the watcher is broken
	closed bool
}

// Group knows all live watchers of the daemon. The zero value is ready.
// Lock order: Group.mu before Watcher.mu.
type Group struct {
	waiting  atomic.Int64 // cost of the events of all
	mu       sync.Mutex
	watchers map[*Watcher]struct{}
}

// New watches a directory. The goroutine it starts ends in Close.
func (g *Group) New(dir string, opts Options) (*Watcher, error) {
	fd, err := openInotify()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "inotify")
	t := newTree(fd, dir, opts)
	if err := t.start(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	conn, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	w := &Watcher{tree: t, file: f, conn: conn, group: g, notify: make(chan struct{}, 1),
		done: make(chan struct{}), buf: make([]byte, 16<<10)}
	g.mu.Lock()
	if g.watchers == nil {
		g.watchers = map[*Watcher]struct{}{}
	}
	g.watchers[w] = struct{}{}
	g.mu.Unlock()
	go w.run()
	return w, nil
}

// Settle makes every watcher read what the kernel has queued. After the daemon created a
// directory this puts it under watch before any file in it is written, so that no WRITE is
// missed.
func (g *Group) Settle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := range g.watchers {
		w.mu.Lock()
		w.read()
		w.mu.Unlock()
	}
}

// Close closes all watchers.
func (g *Group) Close() {
	g.mu.Lock()
	var all []*Watcher
	for w := range g.watchers {
		all = append(all, w)
	}
	g.mu.Unlock()
	for _, w := range all {
		w.Close()
	}
}

// Notify receives a token when Take would return something.
func (w *Watcher) Notify() <-chan struct{} { return w.notify }

// Take returns and forgets the events up to this moment. It reads the kernel's
// queue itself, so that a change made before the call is always in it. Once
// the watcher is broken it returns the reason on every call.
func (w *Watcher) Take() ([]Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read()
	events := w.events
	w.drop()
	if len(events) == 0 {
		return nil, w.err
	}
	if w.err != nil {
		w.wake() // the events go first, the error with the next call
	}
	return events, nil
}

// Close stops watching and waits for the reading goroutine.
func (w *Watcher) Close() {
	w.group.mu.Lock()
	delete(w.group.watchers, w)
	w.group.mu.Unlock()
	w.mu.Lock()
	w.closed = true
	w.drop()
	w.mu.Unlock()
	_ = w.file.Close() // unblocks the poller
	<-w.done
}

// run waits for the descriptor to become readable. The descriptor is used only
// inside conn.Read or under the lock while not closed.
func (w *Watcher) run() {
	defer close(w.done)
	_ = w.conn.Read(func(uintptr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.read()
		return w.closed || w.err != nil // false waits for the next readiness
	})
	_ = w.file.Close() // a broken watcher reads no more, and the kernel's queue must not grow
}

// read empties the kernel's queue. The caller holds the lock.
func (w *Watcher) read() {
	for !w.closed && w.err == nil {
		raw, err := readEvents(w.tree.fd, w.buf)
		if err != nil {
			w.err = err
			break
		}
		if len(raw) == 0 {
			w.tree.settled()
			break
		}
		for _, e := range raw {
			if err := w.tree.apply(e, w.add); err != nil {
				w.err = err
			}
			if w.err != nil {
				break
			}
		}
	}
	if len(w.events) > 0 || w.err != nil {
		w.wake()
	}
}

// add keeps an event. The caller holds the lock.
func (w *Watcher) add(e Event) {
	if w.err != nil || (len(w.events) >= repeatsFrom && w.last[e.Name] == e.Op) {
		return
	}
	cost := eventCost + len(e.Name)
	if e.Entry != nil {
		cost += entryCost + len(e.Entry.Path) + len(e.Entry.Target)
		for key, value := range e.Entry.Metadata {
			cost += len(key) + len(value)
		}
	}
	w.cost += cost
	if w.group.waiting.Add(int64(cost)) > maxWaitingAll || w.cost > maxWaiting {
		w.drop() // a client that is told of an overflow has to look for itself anyway
		w.err = ErrOverflow
		return
	}
	if w.last == nil {
		w.last = map[string]Op{}
	}
	w.events, w.last[e.Name] = append(w.events, e), e.Op
}

// drop forgets the events. The caller holds the lock.
func (w *Watcher) drop() {
	w.group.waiting.Add(-int64(w.cost))
	w.events, w.cost, w.last = nil, 0, nil
}

func (w *Watcher) wake() {
	select {
	case w.notify <- struct{}{}:
	default:
	}
}
