package orchestrator

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// sandbox is one sandbox of this machine.
type sandbox struct {
	id string

	mu      sync.Mutex
	view    shoal.Sandbox // what others may see; State is kept here
	guestID string        // of the current boot
	image   string        // path of the current boot's root image
	guest   runtime.Guest // nil unless running
	slot    *network.Slot // nil unless running
	current *transition   // nil when nothing is going on
	samples samples
}

// transition is one change of state under way. Whoever started it ends it.
type transition struct {
	to   shoal.State
	done chan struct{}
	err  error // set before done is closed
}

func (s *sandbox) snapshotView() shoal.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view
}

func (s *sandbox) hostIP() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slot == nil {
		return netip.Addr{}
	}
	return s.slot.HostIP()
}

// begin starts a transition to a state that is not under way yet. If the same
// one is under way it returns that one and false: the caller waits for it and
// has its result. Another one is waited for, and then the question is asked anew:
// allowed decides from the state whether the transition may start.
func (s *sandbox) begin(ctx context.Context, to shoal.State, allowed func(shoal.State) error) (*transition, bool, error) {
	for {
		s.mu.Lock()
		t := s.current
		if t == nil {
			if err := allowed(s.view.State); err != nil {
				s.mu.Unlock()
				return nil, false, err
			}
			t = &transition{to: to, done: make(chan struct{})}
			s.current = t
			s.view.State = to
			s.mu.Unlock()
			return t, true, nil
		}
		s.mu.Unlock()
		if t.to == to {
			return t, false, nil
		}
		select {
		case <-t.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// end finishes a transition with the state that holds from now on.
func (s *sandbox) end(t *transition, state shoal.State, err error) {
	s.mu.Lock()
	s.view.State = state
	s.current = nil
	s.mu.Unlock()
	t.err = err
	close(t.done)
}

// wait waits for a transition that someone else runs.
func (t *transition) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// expired reports whether the deadline has passed while the sandbox runs.
func (s *sandbox) expired(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view.State == shoal.StateRunning && !s.view.EndAt.After(now)
}

// deadline is the time of expiry, or zero if the sandbox does not run.
func (s *sandbox) deadline() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.State != shoal.StateRunning {
		return time.Time{}
	}
	return s.view.EndAt
}
