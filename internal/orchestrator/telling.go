package orchestrator

import (
	"time"

	"shoal/internal/shoal"
)

// What happens to a sandbox is told by events. An event is entered into the record in the write
// that has the state that it tells of (records.enter), so there is one without the other at no
// moment. From there the outbox brings it to the disk.

// untold are a sandbox's events that the machine's log does not have yet. It is guarded by
// sandbox.mu, and changes only while sandbox.recording is held.
type untold struct {
	events []shoal.Event
	count  int64     // how many there were in all
	last   time.Time // when the last one was
}

// maxUntold is how many events of a sandbox wait for the disk until changes of its time and
// network are told no more. Those of its state always are. An event may be as large as the
// sandbox's metadata, and each write of the record has all of them.
const maxUntold = 64

// at is the time of the next event. Clocks may be set back, but a sandbox's events are not told
// in another order.
func (u *untold) at() time.Time {
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(u.last) {
		return u.last.Add(time.Microsecond)
	}
	return now
}

// add numbers an event.
func (u *untold) add(e shoal.Event) {
	u.count++
	e.Number = u.count
	u.events, u.last = append(u.events, e), e.Time
}

// withdraw takes the last event back.
func (u *untold) withdraw() {
	u.count--
	u.events = u.events[:len(u.events)-1]
}

// ended reports whether the last event is the end.
func (u *untold) ended() bool {
	return len(u.events) > 0 && u.events[len(u.events)-1].Type == shoal.EventKilled
}

// change is a change of a sandbox, made with s.mu held. It returns the event that tells of it,
// or nil for none.
type change func(s *sandbox, at time.Time) (*shoal.Event, error)

// to is the change to a state that an event of a type tells of.
func to(state shoal.State, t shoal.EventType) change {
	return func(s *sandbox, at time.Time) (*shoal.Event, error) {
		s.view.State = state
		var data shoal.EventData
		if t == shoal.EventPaused {
			data.Execution = s.executionLocked(at)
		}
		e := shoal.NewEvent(t, s.view, at, data)
		return &e, nil
	}
}

// killed is the end, which is told once.
func killed(reason shoal.KillReason) change {
	return func(s *sandbox, at time.Time) (*shoal.Event, error) {
		s.view.State = shoal.StateKilling
		if s.untold.ended() {
			return nil, nil
		}
		end := at
		if s.saved != nil && s.view.EndAt.Before(at) {
			end = s.view.EndAt // it was paused then
		}
		e := shoal.NewEvent(shoal.EventKilled, s.view, at,
			shoal.EventData{Execution: s.executionLocked(end), KillReason: shoal.KillReasonOf(reason)})
		return &e, nil
	}
}

// executionLocked is the run that ends at a time; s.mu is held.
func (s *sandbox) executionLocked(end time.Time) *shoal.EventExecution {
	return &shoal.EventExecution{StartedAt: s.view.StartedAt, CPUCount: s.view.Resources.CPUCount,
		MemoryMB: s.view.Resources.MemoryMB, Milliseconds: max(end.Sub(s.view.StartedAt).Milliseconds(), 0)}
}

// checkpointed is that others can begin where the sandbox stands.
func checkpointed(s *sandbox, at time.Time) (*shoal.Event, error) {
	e := shoal.NewEvent(shoal.EventCheckpointed, s.view, at, shoal.EventData{})
	return &e, nil
}

// updatedLocked tells of a change of time or network; s.mu is held.
func (s *sandbox) updatedLocked(at time.Time, data shoal.EventData) *shoal.Event {
	if len(s.untold.events) >= maxUntold {
		return nil
	}
	e := shoal.NewEvent(shoal.EventUpdated, s.view, at, data)
	return &e
}

// newNetwork tells of the network policy that the sandbox has now.
func newNetwork(s *sandbox, at time.Time) (*shoal.Event, error) {
	n := s.view.Network
	list := func(entries []string) []string { return append([]string{}, entries...) }
	return s.updatedLocked(at, shoal.EventData{Egress: &shoal.EventEgress{AllowInternet: n.AllowInternet,
		AllowOut: list(n.AllowOut), DenyOut: list(n.DenyOut)}}), nil
}

// lostWith is the end of a sandbox of which the last event alone is known.
func lostWith(last shoal.Event, at time.Time) shoal.Event {
	e := last
	e.ID, e.Number, e.Type, e.Time = shoal.NewEventID(), last.Number+1, shoal.EventKilled, at
	if !at.After(last.Time) {
		e.Time = last.Time.Add(time.Microsecond)
	}
	e.Data = shoal.EventDataOfEnd(last.Data, shoal.KillOrphaned)
	return e
}
