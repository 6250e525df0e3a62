package shares

import (
	"context"
	"sync"
)

// Turns lets one taker of each name go on at a time. The zero value is ready.
type Turns struct {
	mu   sync.Mutex // guards the rest; a leaf
	open map[string]*turn
}

// turn is of one name. It is kept while anybody has it or waits for it.
type turn struct {
	free  chan struct{} // capacity 1; holds a token while nobody has the turn
	users int
}

// Take waits for the turn of a name until ctx ends. The caller must call done after its turn.
func (t *Turns) Take(ctx context.Context, name string) (done func(), err error) {
	mine := t.join(name)
	select {
	case <-mine.free:
		return t.end(name, mine), nil
	case <-ctx.Done():
		t.leave(name, mine)
		return nil, ctx.Err()
	}
}

// TryTake is Take for one who does not wait. It is not ok if somebody has the turn.
func (t *Turns) TryTake(name string) (done func(), ok bool) {
	mine := t.join(name)
	select {
	case <-mine.free:
		return t.end(name, mine), true
	default:
		t.leave(name, mine)
		return nil, false
	}
}

// join returns the turn of a name, of which the caller is one user more.
func (t *Turns) join(name string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[string]*turn{}
	}
	mine := t.open[name]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)}
		mine.free <- struct{}{}
		t.open[name] = mine
	}
	mine.users++
	return mine
}

func (t *Turns) end(name string, mine *turn) (done func()) {
	return func() {
		mine.free <- struct{}{}
		t.leave(name, mine)
	}
}

func (t *Turns) leave(name string, left *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if left.users--; left.users == 0 {
		delete(t.open, name)
	}
}

// Open is how many names somebody has the turn of, or waits for.
func (t *Turns) Open() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}
