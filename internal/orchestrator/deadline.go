package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/shoal"
)

// SetDeadline moves the end of a running sandbox, never past its start plus the
// team's maximum length.
func (o *Orchestrator) SetDeadline(
	ctx context.Context, sandboxID string, change shoal.DeadlineChange,
) (shoal.Sandbox, error) {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	if change.Wait {
		if err := sb.settled(ctx); err != nil {
			return shoal.Sandbox{}, err
		}
	}
	var view shoal.Sandbox
	err = o.records.saveEvent(sb, func(s *sandbox, at time.Time) (*shoal.Event, error) {
		before := s.view.EndAt
		if err := s.moveDeadlineLocked(time.Now().UTC(), change); err != nil {
			return nil, err
		}
		view = s.view
		if view.EndAt.Equal(before) {
			return nil, nil
		}
		return s.updatedLocked(at, shoal.EventData{SetTimeout: &view.EndAt}), nil
	})
	if err != nil {
		return shoal.Sandbox{}, err
	}
	o.nudge()
	return view, nil
}

// settled waits for the transition that is under way, if any. How it ends is not
// the caller's matter.
func (s *sandbox) settled(ctx context.Context) error {
	s.mu.Lock()
	t := s.current
	s.mu.Unlock()
	if t != nil {
		_ = t.wait(ctx)
	}
	return ctx.Err()
}

// moveDeadlineLocked moves the end; s.mu is held.
func (s *sandbox) moveDeadlineLocked(now time.Time, change shoal.DeadlineChange) error {
	if err := shoal.Changeable(s.id, s.view.State); err != nil {
		return err
	}
	last := s.view.StartedAt.Add(s.view.MaxLength)
	if !now.Before(last) {
		return shoal.ErrBadRequest.New("Max instance length exceeded")
	}
	end := now.Add(change.Timeout)
	if end.After(last) {
		end = last
	}
	if !change.ExtendOnly || end.After(s.view.EndAt) {
		s.view.EndAt = end
	}
	return nil
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

// nudge tells holdDeadlines that the nearest deadline may have changed.
func (o *Orchestrator) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// holdDeadlines ends sandboxes at their deadlines until ctx ends. It sleeps
// until the nearest one.
func (o *Orchestrator) holdDeadlines(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-o.wake:
		}
		timer.Reset(o.expireDue())
	}
}

// expireDue starts the end of every sandbox that is due, and returns the time
// until the next one is.
func (o *Orchestrator) expireDue() time.Duration {
	now, next := time.Now(), time.Hour
	for _, sb := range o.table.all() {
		at := sb.deadline()
		if at.IsZero() {
			continue
		}
		if at.After(now) {
			next = min(next, max(at.Sub(now), time.Millisecond))
			continue
		}
		if !sb.beginExpiry() {
			continue // as when a snapshot is on its way to the disk
		}
		o.tasks.Go(func() {
			o.expire(sb)
			if sb.endExpiry() {
				o.nudge()
			}
		})
	}
	return next
}

// expiry is what is under way for a deadline.
type expiry struct {
	underWay bool
	missed   bool // somebody looked meanwhile, and the deadline had passed
}

// beginExpiry reports whether nobody acts on the sandbox's deadline yet; the caller does then.
func (s *sandbox) beginExpiry() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := !s.expiry.underWay
	s.expiry.underWay, s.expiry.missed = true, !begun
	return begun
}

// endExpiry reports whether the deadline is to be looked at anew.
func (s *sandbox) endExpiry() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = s.expiry.missed
	s.expiry = expiry{}
	return again
}

// errExtended means that a deadline was moved before it was acted upon.
var errExtended = errors.New("the deadline was moved")

// expire does what the sandbox's lifecycle wants at its deadline.
func (o *Orchestrator) expire(sb *sandbox) {
	ctx := context.Background()
	if !sb.resting().IsZero() {
		o.pauses.cool(ctx, sb)
		return
	}
	due := func(state shoal.State) error { // called with sb.mu held
		if state != shoal.StateRunning || sb.view.EndAt.After(time.Now()) {
			return errExtended
		}
		return nil
	}
	lifecycle := sb.viewNow().Lifecycle
	var err error
	if lifecycle.AutoPause {
		// What nobody waits for happens, whatever the daemon says.
		err = o.pause(ctx, sb, pauseWish{memory: !lifecycle.AutoPauseNoMem, silentToo: true}, due)
	} else {
		err = o.kill(ctx, sb, shoal.KillTimeout, due)
	}
	if err != nil && !errors.Is(err, errExtended) {
		o.log.Error("could not end an expired sandbox", "sandbox", sb.id, "error", err)
	}
}
