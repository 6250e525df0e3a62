package watch

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"shoal/internal/envd/file"
)

// ErrOverflow says that the kernel dropped events, so the watcher is of no use any more.
var ErrOverflow = errors.New("the event queue overflowed")

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

// Watcher collects events from its creation to Close. Its buffer is unbounded.
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
	err    error // set once; the watcher is broken
	closed bool
}

// Group knows all live watchers of the daemon. The zero value is ready.
// Lock order: Group.mu before Watcher.mu.
type Group struct {
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
	w.events = nil
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
				break
			}
		}
	}
	if len(w.events) > 0 || w.err != nil {
		w.wake()
	}
}

func (w *Watcher) add(e Event) { w.events = append(w.events, e) }

func (w *Watcher) wake() {
	select {
	case w.notify <- struct{}{}:
	default:
	}
}
