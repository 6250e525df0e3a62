package orchestrator

import (
	"net/netip"
	"sync"
	"time"

	"shoal/internal/network"
	"shoal/internal/shoal"
)

// table is the sandboxes of this machine. Its lock is taken before a sandbox's.
type table struct {
	cfg *Config

	mu       sync.Mutex
	byID     map[string]*sandbox
	draining bool // nothing begins any more
}

func newTable(cfg *Config) *table { return &table{cfg: cfg, byID: map[string]*sandbox{}} }

// reserve enters a new sandbox, within the machine's bound.
func (t *table) reserve(spec shoal.Spec, egress network.Egress) (*sandbox, error) {
	has, err := readCapacity(t.cfg)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.draining:
		return nil, shoal.ErrUnavailable.New("The machine is shutting down")
	case t.byID[spec.SandboxID] != nil:
		return nil, shoal.ErrSandboxState.New("Sandbox %q exists already", spec.SandboxID)
	}
	if err := t.roomLocked(has, spec.Resources, nil); err != nil {
		return nil, err
	}
	sb := &sandbox{id: spec.SandboxID, createdAt: time.Now().UTC(), egress: egress,
		view: shoal.Sandbox{Spec: spec, State: shoal.StateCreating, NodeID: t.cfg.NodeID}}
	t.byID[spec.SandboxID] = sb
	return sb, nil
}

// admit lets the guest of a sandbox that comes back live, if the machine has room for it.
func (t *table) admit(sb *sandbox) error {
	has, err := readCapacity(t.cfg)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining {
		return shoal.ErrUnavailable.New("The machine is shutting down")
	}
	return t.roomLocked(has, sb.viewNow().Resources, sb)
}

// drain lets nothing begin any more.
func (t *table) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
}

// isDraining tells whether drain was called.
func (t *table) isDraining() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.draining
}

// alive counts the sandboxes with a guest of their own. Paused ones have none, or one
// that gives way.
func (t *table) alive() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, sb := range t.byID {
		if sb.viewNow().State != shoal.StatePaused {
			n++
		}
	}
	return n
}

func (t *table) add(sb *sandbox) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byID[sb.id] = sb
}

func (t *table) remove(sandboxID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, sandboxID)
}

func (t *table) find(sandboxID string) (*sandbox, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sb, ok := t.byID[sandboxID]
	if !ok {
		return nil, shoal.NotFound(sandboxID)
	}
	return sb, nil
}

// at finds the sandbox whose guest the host reaches at an address.
func (t *table) at(host netip.Addr) (sandboxID string, ok bool) {
	for _, sb := range t.all() {
		if sb.address() == host {
			return sb.id, true
		}
	}
	return "", false
}

func (t *table) all() []*sandbox {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*sandbox, 0, len(t.byID))
	for _, sb := range t.byID {
		list = append(list, sb)
	}
	return list
}

// running counts the sandboxes that run, by team.
func (t *table) running() map[string]int {
	teams := map[string]int{}
	for _, sb := range t.all() {
		if view := sb.viewNow(); view.State.Public() == shoal.StateRunning {
			teams[view.TeamID]++
		}
	}
	return teams
}

// runningOf counts a team's sandboxes that run.
func (t *table) runningOf(teamID string) int {
	n := 0
	for _, sb := range t.all() {
		if view := sb.viewNow(); view.TeamID == teamID && view.State.Public() == shoal.StateRunning {
			n++
		}
	}
	return n
}
