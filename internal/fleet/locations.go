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
	absent   map[string]time.Time // until when a sandbox is known to be on no machine
	starting map[place]int        // reservations; concurrent starts of one sandbox share a place
}

// place is a sandbox's share of its team's limit of concurrent sandboxes.
type place struct{ teamID, sandboxID string }

type entry struct {
	sandbox shoal.Sandbox
	on      *member
	at      uint64 // the clock when the entry was made
}

func newLocations() *locations {
	return &locations{entries: map[string]entry{}, absent: map[string]time.Time{}, starting: map[place]int{}}
}

// mark advances the clock and returns it, for a later replace.
func (l *locations) mark() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	return l.clock
}

// replace replaces a machine's entries by its list, which was requested at the given mark.
// Entries made since then are newer than the list and are kept. Older ones of other machines
// are not: the sandbox has moved.
func (l *locations) replace(on *member, list []shoal.Sandbox, asked uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		if e.on == on && e.at < asked {
			delete(l.entries, id)
		}
	}
	for _, sb := range list {
		e, known := l.entries[sb.SandboxID]
		if newer := known && e.at >= asked; !newer && sb.State != shoal.StateCreating {
			l.put(sb, on, asked-1)
		}
	}
}

// reserve takes one of a team's places, or returns the error for the limit that leaves none.
// If it returns nil, the caller must call settle or release.
func (l *locations) reserve(p place, limits shoal.TeamLimits) *shoal.Error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.starting[p] == 0 {
		if refused := limits.Refuse(l.taken(p)); refused != nil {
			return refused
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

// known returns the IDs of a team's sandboxes that run or are being started here, and of the others.
func (l *locations) known(teamID string) (running, paused []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.starting {
		if p.teamID == teamID {
			running = append(running, p.sandboxID)
		}
	}
	for id, e := range l.entries {
		switch {
		case e.sandbox.TeamID != teamID:
		case e.sandbox.State.Public() == shoal.StateRunning:
			running = append(running, id)
		default:
			paused = append(paused, id)
		}
	}
	return running, paused
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
	l.put(sb, on, l.clock)
}

// put makes an entry; l.mu is held.
func (l *locations) put(sb shoal.Sandbox, on *member, at uint64) {
	l.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: at}
	delete(l.absent, sb.SandboxID)
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
	l.put(sb, on, l.clock)
}

// forget drops a sandbox that its machine no longer has.
func (l *locations) forget(sandboxID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, sandboxID)
}

// forgetOn is forget, unless the sandbox is on another machine meanwhile.
func (l *locations) forgetOn(sandboxID string, isThere func(*member) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[sandboxID]; ok && isThere(e.on) {
		delete(l.entries, sandboxID)
	}
}

// end is forget for a sandbox that a machine has ended, and reports whether it is nowhere else, nor about
// to start there.
func (l *locations) end(sandboxID string, on *member) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[sandboxID]
	if ok && e.on != on {
		return false
	}
	delete(l.entries, sandboxID)
	for p := range l.starting {
		if p.sandboxID == sandboxID {
			return false
		}
	}
	return true
}

// find returns what is remembered of a sandbox.
func (l *locations) find(sandboxID string) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[sandboxID]
	return e, ok
}

const (
	// absentTime is how long it is remembered that no machine has a sandbox.
	absentTime = 2 * time.Second
	// absentKept bounds how many of those are remembered.
	absentKept = 8192
)

// miss remembers that no machine had a sandbox when they were asked, at the given mark. What
// was made since then is there.
func (l *locations) miss(sandboxID string, asked uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[sandboxID]; ok && e.at >= asked {
		return
	}
	delete(l.entries, sandboxID)
	if len(l.absent) >= absentKept {
		for id, until := range l.absent {
			if now.After(until) {
				delete(l.absent, id)
			}
		}
	}
	if len(l.absent) < absentKept {
		l.absent[sandboxID] = now.Add(absentTime)
	}
}

// isAbsent reports whether no machine had a sandbox a moment ago.
func (l *locations) isAbsent(sandboxID string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.absent[sandboxID]
	return ok && now.Before(until)
}

// tokens returns the daemons' tokens of all remembered sandboxes that have one, by ID.
func (l *locations) tokens() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := map[string]string{}
	for id, e := range l.entries {
		if token := e.sandbox.EnvdAccessToken; token != "" {
			tokens[id] = token
		}
	}
	return tokens
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
