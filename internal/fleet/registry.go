package fleet

import (
	"sync"
	"time"

	"shoal/internal/shoal"
)

// registry remembers which sandbox is where, and counts each team's sandboxes
// together with those that are being started.
type registry struct {
	mu       sync.Mutex // guards the rest; nothing is locked while it is held
	clock    uint64     // counts changes
	entries  map[string]entry
	starting map[place]int // reservations; starts of the same sandbox share a place
}

// place is one of a team's places.
type place struct{ teamID, sandboxID string }

type entry struct {
	sandbox shoal.Sandbox
	on      *member
	at      uint64 // the clock when it was entered
}

func newRegistry() *registry {
	return &registry{entries: map[string]entry{}, starting: map[place]int{}}
}

// mark returns the present moment for replace.
func (r *registry) mark() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	return r.clock
}

// replace takes a machine's list that was asked for at the given mark. Entries
// made since then are newer than the list.
func (r *registry) replace(on *member, list []shoal.Sandbox, asked uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.entries {
		if e.on == on && e.at < asked {
			delete(r.entries, id)
		}
	}
	for _, sb := range list {
		if _, newer := r.entries[sb.SandboxID]; !newer && sb.State != shoal.StateCreating {
			r.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: asked - 1}
		}
	}
}

// reserve takes one of a team's places; false if all are taken. It is followed
// by either settle or release.
func (r *registry) reserve(p place, limit int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starting[p] == 0 && r.taken(p) >= limit {
		return false
	}
	r.starting[p]++
	return true
}

// taken counts the team's places that other sandboxes have.
func (r *registry) taken(p place) int {
	n := 0
	for other := range r.starting {
		if other.teamID == p.teamID && other != p {
			n++
		}
	}
	for id, e := range r.entries {
		counted := r.starting[place{p.teamID, id}] > 0 || id == p.sandboxID
		if !counted && e.sandbox.TeamID == p.teamID && e.sandbox.State.Public() == shoal.StateRunning {
			n++
		}
	}
	return n
}

func (r *registry) release(p place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreserve(p)
}

// settle turns a reservation into a sandbox.
func (r *registry) settle(sb shoal.Sandbox, on *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unreserve(place{sb.TeamID, sb.SandboxID})
	r.clock++
	r.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: r.clock}
}

func (r *registry) unreserve(p place) {
	if r.starting[p]--; r.starting[p] == 0 {
		delete(r.starting, p)
	}
}

// note keeps a sandbox as a machine has just described it.
func (r *registry) note(sb shoal.Sandbox, on *member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	r.entries[sb.SandboxID] = entry{sandbox: sb, on: on, at: r.clock}
}

// forget drops a sandbox that its machine no longer has.
func (r *registry) forget(sandboxID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, sandboxID)
}

func (r *registry) find(sandboxID string) (*member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[sandboxID]
	return e.on, ok
}

// of returns what is remembered of a machine's sandboxes, without those whose
// time is over; a paused one has no end.
func (r *registry) of(on *member) []shoal.Sandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var list []shoal.Sandbox
	for _, e := range r.entries {
		if e.on == on && (e.sandbox.State == shoal.StatePaused || e.sandbox.EndAt.After(now)) {
			list = append(list, e.sandbox)
		}
	}
	return list
}

// allocated is the sum of the CPUs of a machine's sandboxes.
func (r *registry) allocated(on *member) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	cpus := 0
	for _, e := range r.entries {
		if e.on == on && e.sandbox.State.Public() == shoal.StateRunning {
			cpus += e.sandbox.Resources.CPUCount
		}
	}
	return cpus
}
