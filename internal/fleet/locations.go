package fleet

import (
	"sync"
	"time"

	"shoal/internal/shoal"
)

// locations remembers which machine each sandbox is on, and counts each team's sandboxes,
// including those that are being started.
type locations struct {
	mu       sync.Mutex // guards the rest; nothing is locked while it is held
	clock    uint64     // counts changes
	entries  map[string]entry
	starting map[place]int // reservations; concurrent starts of one sandbox share a place
}

// place is a sandbox's share of its team's limit of concurrent sandboxes.
type place struct{ teamID, sandboxID string }

type entry struct {
	sandbox shoal.Sandbox
	on      *member
	at      uint64 // the clock when the entry was made
}

func newLocations() *locations {
	return &locations{entries: map[string]entry{}, starting: map[place]int{}}
}

// mark advances the clock and returns it, for a later replace.
func (l *locations) mark() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	return l.clock
}

// replace replaces a machine's entries by its list, which was requested at the given mark.
// Entries made since then are newer than the list and are kept.
func (l *locations) replace(on *member, list []shoal.Sandbox, asked uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		if e.on == on && e.at < asked {
			delete(l.entries, id)
		}
	}
	for _, sb := range list {
		if _, newer := l.entries[sb.SandboxID]; !newer && sb.State != shoal.StateCreating {
			l.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: asked - 1}
		}
	}
}

// reserve takes one of a team's places, or returns the error for the limit that leaves none.
// If it returns nil, the caller must call settle or release.
func (l *locations) reserve(p place, limits shoal.TeamLimits) *shoal.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.starting[p] == 0 {
		running, all := l.taken(p)
		switch {
		case running >= limits.ConcurrentSandboxes:
			return shoal.ErrConcurrencyLimit.New("you have reached the maximum number of concurrent E2B sandboxes (%d).",
				limits.ConcurrentSandboxes)
		case all >= limits.Sandboxes:
			return shoal.ErrSandboxLimit.New("you have reached the maximum number of sandboxes, running and paused (%d).",
				limits.Sandboxes)
		}
	}
	l.starting[p]++
	return nil
}

// taken counts the team's other sandboxes: those that run or are being started, and all.
func (l *locations) taken(p place) (running, all int) {
	for other := range l.starting {
		if other.teamID == p.teamID && other != p {
			running++
			all++
		}
	}
	for id, e := range l.entries {
		counted := l.starting[place{p.teamID, id}] > 0 || id == p.sandboxID
		if counted || e.sandbox.TeamID != p.teamID {
			continue
		}
		all++
		if e.sandbox.State.Public() == shoal.StateRunning {
			running++
		}
	}
	return running, all
}

func (l *locations) release(p place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unreserve(p)
}

// settle replaces a reservation by the sandbox that was started.
func (l *locations) settle(sb shoal.Sandbox, on *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unreserve(place{sb.TeamID, sb.SandboxID})
	l.clock++
	l.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: l.clock}
}

func (l *locations) unreserve(p place) {
	if l.starting[p]--; l.starting[p] == 0 {
		delete(l.starting, p)
	}
}

// note stores a sandbox as a machine has just described it.
func (l *locations) note(sb shoal.Sandbox, on *member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	l.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: l.clock}
}

// forget drops a sandbox that its machine no longer has.
func (l *locations) forget(sandboxID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, sandboxID)
}

func (l *locations) find(sandboxID string) (*member, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[sandboxID]
	return e.on, ok
}

// of returns the remembered sandboxes of a machine, without running ones whose end time
// has passed.
func (l *locations) of(on *member) []shoal.Sandbox {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var list []shoal.Sandbox
	for _, e := range l.entries {
		if e.on == on && (e.sandbox.State == shoal.StatePaused || e.sandbox.EndAt.After(now)) {
			list = append(list, e.sandbox)
		}
	}
	return list
}

// kept returns how many bytes a team's paused sandboxes take.
func (l *locations) kept(teamID string) (bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.sandbox.TeamID == teamID {
			bytes += e.sandbox.KeptBytes
		}
	}
	return bytes
}

// allocated returns the sum of the CPUs of a machine's running sandboxes.
func (l *locations) allocated(on *member) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	cpus := 0
	for _, e := range l.entries {
		if e.on == on && e.sandbox.State.Public() == shoal.StateRunning {
			cpus += e.sandbox.Resources.CPUCount
		}
	}
	return cpus
}
