package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// usePeriod is the least time between two writes of one key's last use (api.md §2.5).
const usePeriod = time.Minute

// uses collects which keys were used, so that requests do not wait for the database.
type uses struct {
	wake chan struct{} // wakes Run; holds one token, so a full channel means it is already told

	mu      sync.Mutex // guards the rest
	pending map[string]time.Time
	noted   map[string]time.Time // when a key was last put into pending
}

func newUses() *uses {
	return &uses{wake: make(chan struct{}, 1),
		pending: map[string]time.Time{}, noted: map[string]time.Time{}}
}

func (u *uses) note(keyID string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at.Sub(u.noted[keyID]) < usePeriod {
		return
	}
	u.noted[keyID], u.pending[keyID] = at, at
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *uses) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := make(map[string]time.Time, len(u.pending))
	for id, at := range u.pending {
		taken[id] = at
	}
	clear(u.pending)
	return taken
}

// putBack returns a use that could not be stored, to be tried again.
func (u *uses) putBack(keyID string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at.After(u.pending[keyID]) {
		u.pending[keyID] = at
	}
}

// Run stores when keys were last used, until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return a.flushUses(flush)
		case <-a.uses.wake:
			if err := a.flushUses(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("could not store when keys were last used", "error", err)
			}
		}
	}
}

func (a *Authenticator) flushUses(ctx context.Context) error {
	var errs []error
	for id, at := range a.uses.take() {
		if err := a.store.TouchKey(ctx, id, at); err != nil {
			a.uses.putBack(id, at)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store the use of keys: %w", err)
	}
	return nil
}
