package shoal

import "time"

// Place is a running sandbox's share of its team's limits, as all apis of an installation count it. It
// is taken before the sandbox starts.
type Place struct {
	TeamID    string
	SandboxID string
	// NodeID is the machine that the sandbox runs on; "" before it has started for the first time.
	NodeID string
	// Stamp is another one each time the place is taken, so that who has read it earlier does not give
	// it away.
	Stamp int64
	// Joined means that the sandbox had the place before it was taken: it stays if the start fails.
	Joined bool
	// HeldUntil is how long an api may be at work on a start. Until then the sandbox need not be on any
	// machine.
	HeldUntil time.Time
	ExpiresAt time.Time
}

// PlaceRequest asks for a place for a sandbox that is about to start.
type PlaceRequest struct {
	TeamID, SandboxID string
	// Running and Paused are the sandboxes of the team that the asker knows of, whether they have a
	// place or not.
	Running, Paused []string
	Limits          TeamLimits
}

// Refuse returns the error for a team that has so many sandboxes and wants one more: those that run,
// and all. It is nil if it may.
func (l TeamLimits) Refuse(running, all int) *Error {
	switch {
	case running >= l.ConcurrentSandboxes:
		return ErrConcurrencyLimit.New("you have reached the maximum number of concurrent E2B sandboxes (%d).",
			l.ConcurrentSandboxes)
	case all >= l.Sandboxes:
		return ErrSandboxLimit.New("you have reached the maximum number of sandboxes, running and paused (%d).",
			l.Sandboxes)
	}
	return nil
}
