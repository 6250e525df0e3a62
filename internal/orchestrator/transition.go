package orchestrator

import (
	"context"

	"shoal/internal/shoal"
)

// transition is one change of state under way. Whoever started it ends it.
type transition struct {
	to   shoal.State
	done chan struct{}
	err  error // set before done is closed
	// recovers means that this is the first attempt to take over the guest: whoever needs the
	// guest waits for it.
	recovers bool
}

// begin starts a transition to a state that is not under way yet. If the same
// one is under way it returns that one and false: the caller waits for it and
// has its result. Another one is waited for, and then the question is asked anew:
// allowed decides from the state whether the transition may start.
func (s *sandbox) begin(
	ctx context.Context, to shoal.State, allowed func(shoal.State) error,
) (*transition, bool, error) {
	for {
		s.mu.Lock()
		t := s.current
		if t == nil {
			err := allowed(s.view.State)
			// Stranded sandboxes can be adopted or killed.
			if err == nil && to != shoal.StateRunning && to != shoal.StateKilling {
				err = s.unreachableLocked()
			}
			if err != nil {
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

// beginAlone starts a transition if none is under way, and otherwise asks allowed about the
// one that is. Those that leave the sandbox running are waited for: changes of the network
// policy, which are short, and its recovery.
func (s *sandbox) beginAlone(
	ctx context.Context, to shoal.State, allowed func(shoal.State) error,
) (*transition, error) {
	for {
		t, other, err := s.tryBegin(to, allowed)
		if err != nil || t != nil {
			return t, err
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryBegin starts a transition, or returns the one in its way that is to be waited for.
func (s *sandbox) tryBegin(
	to shoal.State, allowed func(shoal.State) error,
) (begun, other *transition, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allowed(s.view.State); err != nil {
		return nil, nil, err
	}
	if err := s.unreachableLocked(); err != nil && !s.recoversLocked() {
		return nil, nil, err
	}
	switch {
	case s.current == nil:
		s.current = &transition{to: to, done: make(chan struct{})}
		s.view.State = to
		return s.current, nil, nil
	case s.current.to == shoal.StateRunning:
		return nil, s.current, nil
	default:
		return nil, nil, shoal.ErrSandboxState.New("Sandbox %q is changing its state", s.id)
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

// recoversLocked tells whether the guest is being taken over for the first time; s.mu is held.
func (s *sandbox) recoversLocked() bool { return s.current != nil && s.current.recovers }
