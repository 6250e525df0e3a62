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
	id        string
	createdAt time.Time // UTC; zero if an older version of Shoal made it

	// policing lets one change of the network policy at a time happen; it is taken
	// before recording.
	policing sync.Mutex
	// recording lets one writer at a time at the record; it is taken before mu.
	recording sync.Mutex
	forgotten bool // guarded by recording: the record was removed

	mu      sync.Mutex
	view    shoal.Sandbox // what others may see; State is kept here
	guestID string        // of the current boot
	root    runtime.Root  // the current boot's
	kernel  string        // that runs the current boot
	// bootSecret proves the host to a guest that was started ahead; "" in others, and
	// in adopted ones, which know whose they are.
	bootSecret string
	guest      runtime.Guest // nil unless running, or paused and resting
	slot       *network.Slot // nil when guest is, but for a start under way
	current    *transition   // nil when nothing is going on
	// saved is what it comes back from; nil unless paused, or on the way there or
	// back.
	saved     *saved
	restUntil time.Time     // while paused: when its resting guest ends
	keeping   chan struct{} // closed when a resting guest's disk is written apart
	samples   samples
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

// beginAlone starts a transition if none is under way, and otherwise asks allowed
// about the one that is.
func (s *sandbox) beginAlone(to shoal.State, allowed func(shoal.State) error) (*transition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allowed(s.view.State); err != nil {
		return nil, err
	}
	if s.current != nil {
		return nil, shoal.ErrSandboxState.New("Sandbox %q is changing its state", s.id)
	}
	t := &transition{to: to, done: make(chan struct{})}
	s.current = t
	s.view.State = to
	return t, nil
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

// deadline is when something is to be done with the sandbox: the end of its time
// while it runs, the end of its rest while it is paused; else zero.
func (s *sandbox) deadline() time.Time {
	if until := s.resting(); !until.IsZero() {
		return until
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view.State != shoal.StateRunning {
		return time.Time{}
	}
	return s.view.EndAt
}
