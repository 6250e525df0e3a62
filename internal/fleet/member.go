package fleet

import (
	"slices"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// View is what the fleet knows about a machine.
type View struct {
	Info shoal.NodeInfo
	// Connected means that the machine answered the last time it was asked.
	Connected bool
	// Since is when Info.Status last changed, UTC; zero before the first answer.
	Since     time.Time
	Sandboxes []shoal.Sandbox
}

// member is one machine with its last known state.
type member struct {
	node      shoal.Node
	announced map[string]time.Time // builds reported to OnBuild; only a sync uses it
	counted   time.Time            // until when its tallies were taken; only TakeTallies uses it

	mu        sync.Mutex // guards the rest; nothing is locked while it is held
	info      shoal.NodeInfo
	connected bool
	since     time.Time
	placing   int      // virtual CPUs of placements in flight
	lost      []string // sandboxes that may or may not have been started
}

func newMember(node shoal.Node, name string) *member {
	return &member{node: node, announced: map[string]time.Time{},
		info: shoal.NodeInfo{ID: name, Status: shoal.NodeUnhealthy}}
}

// update stores the machine's answer, or marks it unhealthy if err is not nil. It reports
// whether the status changed.
func (m *member) update(info shoal.NodeInfo, err error) (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.info.Status
	if err != nil {
		m.connected = false
		m.info.Status = shoal.NodeUnhealthy
	} else {
		m.connected = true
		m.info = info
	}
	if changed = before != m.info.Status; changed || m.since.IsZero() {
		m.since = time.Now().UTC()
	}
	return changed
}

func (m *member) view() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	return View{Info: m.info, Connected: m.connected, Since: m.since}
}

// isSilent reports whether the machine did not answer when it was asked last.
func (m *member) isSilent() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.connected && !m.since.IsZero()
}

// disconnect marks the machine as not answering without waiting for the next sync.
func (m *member) disconnect(err error) { m.update(shoal.NodeInfo{}, err) }

// begin reserves CPUs for a placement; end gives them back.
func (m *member) begin(cpus int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.placing += cpus
}

func (m *member) end(cpus int) { m.begin(-cpus) }

// canStart reports whether the machine takes new sandboxes, and whether it has the build
// and the runtime that the build requires.
func (m *member) canStart(buildID string) (ready, compatible bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.info.Builds {
		if b.ID == buildID {
			compatible = !b.Runtime.Required || slices.Contains(m.info.Runtimes, b.Runtime.Name)
		}
	}
	return m.connected && m.info.Status == shoal.NodeReady, compatible
}

// load returns the share of the machine's CPUs that would be allocated if a sandbox with
// this many CPUs were added; 1 is full. CPUs are overcommitted because guests are idle
// most of the time (api.md §6.2).
func (m *member) load(allocated, cpus int) float64 {
	const overcommit = 4
	m.mu.Lock()
	defer m.mu.Unlock()
	return float64(cpus+allocated+m.placing) / float64(overcommit*max(m.info.CPUCount, 1))
}

func (m *member) addLost(sandboxID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = append(m.lost, sandboxID)
}

func (m *member) takeLost() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.lost
	m.lost = nil
	return taken
}
