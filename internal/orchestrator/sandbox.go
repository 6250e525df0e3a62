package orchestrator

import (
	"net/netip"
	"sync"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// sandbox is one sandbox of this machine.
type sandbox struct {
	id        string
	createdAt time.Time // UTC; zero if an older version of Shoal made it

	// telling is held while events are brought to the disk; it is taken before recording.
	telling sync.Mutex
	// recording serializes writes of the record; it is taken before mu.
	recording sync.Mutex
	forgotten bool // guarded by recording: the record was removed

	mu     sync.Mutex
	view   shoal.Sandbox  // what others may see; State is kept here
	egress network.Egress // view.Network, as the packet filter takes it
	// unknownPolicy means that the record of an earlier process has a policy that this one cannot
	// understand; it does not change.
	unknownPolicy bool
	// authority vouches towards its guests for the servers that it has transforms for (PEM, with the
	// key); nil until there were some.
	authority []byte
	// guest is nil unless one runs, rests while the sandbox is paused, or is on its way.
	guest *guest.Guest
	// last is of the guest, or of the latest one if there is none: a paused sandbox comes
	// back with its images, and mostly with its kernel.
	last guest.Identity
	// stranded is the state in the record until the guest of an earlier process is taken over
	// (adopt.go); else "".
	stranded shoal.State
	current  *transition // nil when nothing is going on
	// saved is what it comes back from; nil unless paused, or on the way there or
	// back.
	saved     *snapshot.Saved
	restUntil time.Time     // while paused: when its resting guest ends
	keeping   chan struct{} // closed when a resting guest's disk is written apart
	expiry    expiry
	measured  measured
	untold    untold
}

func (s *sandbox) viewNow() shoal.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := s.view
	paused := view.State == shoal.StatePaused || view.State == shoal.StateResuming
	switch {
	case paused && s.saved != nil && s.saved.Memory:
		view.PauseMode, view.DaemonSilent = shoal.PauseFull, s.saved.Silent
	case paused && s.saved != nil:
		view.PauseMode = shoal.PauseDisk
	}
	return view
}

// savedNow is what the sandbox comes back from; false if there is nothing.
func (s *sandbox) savedNow() (snapshot.Saved, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saved == nil {
		return snapshot.Saved{}, false
	}
	return *s.saved, true
}

// egressNow is what the sandbox's next guest may reach. It does not change during a start, as
// a change of it is a transition too.
func (s *sandbox) egressNow() network.Egress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.egress.Of(s.id, s.view.TeamID, s.authority)
}

// address is where the host reaches the sandbox's guest; the zero value if it has none.
func (s *sandbox) address() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guest == nil {
		return netip.Addr{}
	}
	return s.guest.Address()
}

// factsOf is what a guest's environment says of its sandbox.
func factsOf(view shoal.Sandbox) envdapi.Facts {
	return envdapi.Facts{SandboxID: view.SandboxID, TemplateID: view.TemplateID,
		TokenHash: envdapi.TokenHash(view.EnvdAccessToken)}
}
