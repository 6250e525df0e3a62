package api

import (
	"context"
	"sync"
)

// turns lets one request of each name go on at a time. The zero value is ready.
type turns struct {
	mu   sync.Mutex // guards the rest
	open map[string]*turn
}

// turn is of one name. It is kept while anybody has it or waits for it.
type turn struct {
	free  chan struct{} // capacity 1; holds a token while nobody has the turn
	users int
}

// take waits for the turn of a name until ctx ends. The caller must call done after its turn.
func (t *turns) take(ctx context.Context, name string) (done func(), err error) {
	t.mu.Lock()
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
	t.mu.Unlock()
	select {
	case <-mine.free:
		return func() {
			mine.free <- struct{}{}
			t.leave(name, mine)
		}, nil
	case <-ctx.Done():
		t.leave(name, mine)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(name string, left *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if left.users--; left.users == 0 {
		delete(t.open, name)
	}
}
