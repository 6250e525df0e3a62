// Package fleettest provides an in-memory machine for tests of the layers above the
// machines. No guest runs on it, but it answers as a real machine does.
package fleettest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"shoal/internal/shoal"
)

// Node is a machine in memory. Its zero value is not ready; use New.
type Node struct {
	mu         sync.Mutex // guards the rest
	info       shoal.NodeInfo
	sandboxes  map[string]shoal.Sandbox
	specs      map[string]shoal.Spec // as given to Create, with its secrets
	metrics    map[string]measured   // also of sandboxes that have ended
	tallies    []shoal.Tally
	logs       map[string][]shoal.LogEntry
	records    []shoal.EgressRecord
	networks   map[string]shoal.Network
	onCreate   func(context.Context, shoal.Spec) error
	onDeadline func(sandboxID string)
	onPause    func(sandboxID string)
	onResume   func(context.Context) error
	down       error
	silent     bool // the daemons of all sandboxes are
	kills      map[string]shoal.KillReason
	diskOnly   map[string]bool // by the ID of a sandbox or a build
	saveSize   int64
	gets       int
	lists      int
	onList     func(context.Context)
	waker      func(context.Context, shoal.Wake) error
	fillers    []*fillFunc   // the newest last
	events     []shoal.Event // those that nobody has taken
	forgotten  int64         // how many were taken
	told       chan struct{} // closed when there are more events
	switched   chan shoal.Standing
}

var _ shoal.Node = (*Node)(nil)

// New returns a machine with 4 CPUs that has the given builds.
func New(id string, builds ...shoal.Build) *Node {
	return &Node{
		info: shoal.NodeInfo{ID: id, Version: "test", Status: shoal.NodeReady, CPUCount: 4,
			MemoryTotal: 8 << 30, Runtimes: []string{"gvisor"}, Builds: builds},
		sandboxes: map[string]shoal.Sandbox{}, specs: map[string]shoal.Spec{},
		metrics: map[string]measured{}, logs: map[string][]shoal.LogEntry{},
		networks: map[string]shoal.Network{}, kills: map[string]shoal.KillReason{},
		diskOnly: map[string]bool{}, told: make(chan struct{}), switched: make(chan shoal.Standing, 16),
	}
}

// Create makes a running sandbox.
func (n *Node) Create(ctx context.Context, spec shoal.Spec) (shoal.Sandbox, error) {
	n.mu.Lock()
	hook, down := n.onCreate, n.down
	n.mu.Unlock()
	if down != nil {
		return shoal.Sandbox{}, down
	}
	if hook != nil {
		if err := hook(ctx, spec); err != nil {
			return shoal.Sandbox{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now().UTC()
	n.specs[spec.SandboxID] = spec
	spec.EnvVars = nil
	sb := shoal.Sandbox{
		Spec:        spec,
		State:       shoal.StateRunning,
		ExecutionID: shoal.NewExecutionID(),
		NodeID:      n.info.ID,
		StartedAt:   now,
		EndAt:       now.Add(spec.Timeout),
		HostIP:      "10.11.0.9",
	}
	n.sandboxes[spec.SandboxID] = sb
	return sb, nil
}

// Get returns a sandbox.
func (n *Node) Get(_ context.Context, sandboxID string) (shoal.Sandbox, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gets++
	return n.find(sandboxID)
}

func (n *Node) find(sandboxID string) (shoal.Sandbox, error) {
	if n.down != nil {
		return shoal.Sandbox{}, n.down
	}
	sb, ok := n.sandboxes[sandboxID]
	if !ok {
		return sb, shoal.NotFound(sandboxID)
	}
	return sb, nil
}

// List returns all sandboxes in no order.
func (n *Node) List(ctx context.Context) ([]shoal.Sandbox, error) {
	n.mu.Lock()
	hook := n.onList
	n.lists++
	n.mu.Unlock()
	if hook != nil {
		hook(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.sandboxes)), n.down
}

// Kill ends a sandbox. One that is already being killed is ErrSandboxNotFound.
func (n *Node) Kill(_ context.Context, sandboxID string, reason shoal.KillReason) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	if err != nil {
		return err
	}
	if sb.State == shoal.StateKilling {
		return shoal.NotFound(sandboxID)
	}
	delete(n.sandboxes, sandboxID)
	n.kills[sandboxID] = reason
	return nil
}

// SetDeadline moves a running sandbox's end as a real machine does.
func (n *Node) SetDeadline(
	_ context.Context,
	sandboxID string,
	change shoal.DeadlineChange,
) (shoal.Sandbox, error) {
	n.mu.Lock()
	hook := n.onDeadline
	n.mu.Unlock()
	if hook != nil {
		hook(sandboxID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	if err != nil {
		return sb, err
	}
	if err := shoal.Changeable(sandboxID, sb.State); err != nil {
		return sb, err
	}
	last := sb.StartedAt.Add(sb.MaxLength)
	end := time.Now().UTC().Add(change.Timeout)
	if end.After(last) {
		end = last
	}
	if !change.ExtendOnly || end.After(sb.EndAt) {
		sb.EndAt = end
	}
	n.sandboxes[sandboxID] = sb
	return sb, nil
}

// SetNetwork keeps the policy.
func (n *Node) SetNetwork(_ context.Context, sandboxID string, policy shoal.Network) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	if err != nil {
		return err
	}
	if err := shoal.Changeable(sandboxID, sb.State); err != nil {
		return err
	}
	n.networks[sandboxID] = policy
	sb.Network.AllowOut, sb.Network.DenyOut = policy.AllowOut, policy.DenyOut
	sb.Network.DNSServers, sb.Network.Transforms = policy.DNSServers, policy.Transforms
	sb.Network.EgressProxy = policy.EgressProxy
	if policy.AllowInternet != nil {
		sb.Network.AllowInternet = policy.AllowInternet
	}
	n.sandboxes[sandboxID] = sb
	return nil
}

// Pause marks a running sandbox as paused.
func (n *Node) Pause(_ context.Context, sandboxID string, opts shoal.PauseOptions) (shoal.Sandbox, error) {
	n.mu.Lock()
	hook := n.onPause
	n.mu.Unlock()
	if hook != nil {
		hook(sandboxID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	switch {
	case err != nil:
		return sb, err
	case sb.State == shoal.StatePaused:
		return sb, shoal.ErrSandboxPaused.New("Error pausing sandbox - sandbox '%s' is already paused", sandboxID)
	case sb.State != shoal.StateRunning:
		return sb, shoal.ErrSandboxState.New(
			"Sandbox '%s' cannot be paused while in '%s' state",
			sandboxID,
			sb.State,
		)
	}
	if n.silent && (opts.RequireDaemon || !opts.Memory) {
		return sb, shoal.ErrDaemonSilent.New("the daemon does not answer")
	}
	sb.State, sb.EndAt, sb.HostIP, sb.PauseMode = shoal.StatePaused, time.Now().UTC(), "", shoal.PauseFull
	if !opts.Memory {
		sb.PauseMode = shoal.PauseDisk
	}
	sb.DaemonSilent = n.silent
	sb.KeptBytes = n.saveSize
	n.sandboxes[sandboxID] = sb
	n.diskOnly[sandboxID] = !opts.Memory
	return sb, nil
}

// DiskOnly reports whether the last pause of a sandbox, or the snapshot that a build is, left
// out the memory.
func (n *Node) DiskOnly(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.diskOnly[id]
}

// Resume marks a paused sandbox as running.
func (n *Node) Resume(ctx context.Context, sandboxID string, opts shoal.ResumeOptions) (shoal.Sandbox, error) {
	n.mu.Lock()
	hook := n.onResume
	n.mu.Unlock()
	if hook != nil {
		if err := hook(ctx); err != nil {
			return shoal.Sandbox{}, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	switch {
	case err != nil:
		return sb, err
	case sb.State == shoal.StateRunning || sb.State == shoal.StateSnapshotting:
		return sb, shoal.ErrSandboxRunning.New("Sandbox %s is already running", sandboxID)
	case sb.State == shoal.StateKilling:
		return sb, shoal.ErrSandboxState.New("Sandbox %q is being killed", sandboxID)
	case sb.DaemonSilent && !opts.ColdBoot:
		return sb, shoal.ErrSnapshotSilent.New("the daemon did not answer")
	}
	now := time.Now().UTC()
	sb.State, sb.StartedAt, sb.EndAt, sb.HostIP = shoal.StateRunning, now, now.Add(opts.Timeout), "10.11.0.9"
	sb.ExecutionID, sb.ColdBoot = shoal.NewExecutionID(), opts.ColdBoot || n.diskOnly[sandboxID]
	sb.PauseMode, sb.DaemonSilent = "", false
	sb.KeptBytes = 0
	n.sandboxes[sandboxID] = sb
	return sb, nil
}

// Snapshot offers a build with the sandbox's resources.
func (n *Node) Snapshot(_ context.Context, sandboxID string, into shoal.SnapshotTarget) (shoal.Build, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sb, err := n.find(sandboxID)
	if err != nil {
		return shoal.Build{}, err
	}
	switch sb.State {
	case shoal.StateRunning:
	case shoal.StatePaused:
		return shoal.Build{}, shoal.NotRunning(sandboxID)
	default:
		return shoal.Build{}, shoal.ErrSandboxState.New(
			"Sandbox '%s' cannot be snapshotted while in '%s' state",
			sandboxID,
			sb.State,
		)
	}
	now := time.Now().UTC()
	b := shoal.Build{ID: into.BuildID, TemplateID: into.TemplateID, Status: shoal.BuildReady,
		Snapshot: true, SandboxID: sandboxID, Resources: sb.Resources, EnvdVersion: sb.EnvdVersion,
		DefaultUser: sb.DefaultUser, DefaultWorkdir: sb.DefaultWorkdir, Size: &shoal.BuildSize{Snapshot: n.saveSize},
		CreatedAt: now, UpdatedAt: now, FinishedAt: now}
	n.info.Builds = append(slices.Clone(n.info.Builds), b)
	n.diskOnly[into.BuildID] = into.DiskOnly
	return b, nil
}

// Fork creates running sandboxes. If OnCreate fails for one, only that copy fails.
func (n *Node) Fork(ctx context.Context, sandboxID string, specs []shoal.Spec) ([]shoal.ForkResult, error) {
	sb, err := n.Get(ctx, sandboxID)
	switch {
	case err != nil:
		return nil, err
	case sb.State == shoal.StatePaused:
		return nil, shoal.ErrSandboxPaused.New(
			"Sandbox '%s' is paused and cannot be forked; resume it first",
			sandboxID,
		)
	case sb.State != shoal.StateRunning:
		return nil, shoal.ErrSandboxState.New(
			"Sandbox '%s' cannot be forked while in '%s' state",
			sandboxID,
			sb.State,
		)
	}
	results := make([]shoal.ForkResult, len(specs))
	for i, spec := range specs {
		results[i].Sandbox, results[i].Err = n.Create(ctx, spec)
	}
	return results, nil
}

// RemoveBuild forgets a build.
func (n *Node) RemoveBuild(_ context.Context, buildID string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.info.Builds = slices.DeleteFunc(slices.Clone(n.info.Builds), func(b shoal.Build) bool {
		return b.ID == buildID
	})
	return n.down
}

// Collect removes snapshot builds that are not in known.
func (n *Node) Collect(
	_ context.Context, known shoal.Inventory, _ shoal.CollectOptions,
) (shoal.Collected, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.info.Builds)
	n.info.Builds = slices.DeleteFunc(slices.Clone(n.info.Builds), func(b shoal.Build) bool {
		return b.Snapshot && !slices.Contains(known.Builds, b.ID)
	})
	return shoal.Collected{Builds: before - len(n.info.Builds)}, n.down
}

// Logs returns the lines that PutLog set.
func (n *Node) Logs(_ context.Context, sandboxID, teamID string, q shoal.LogQuery) ([]shoal.LogEntry, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down != nil {
		return nil, n.down
	}
	var list []shoal.LogEntry
	for _, e := range n.logs[sandboxID+" of "+teamID] {
		after := !e.Time.Before(q.From)
		if q.Backward {
			after = q.From.IsZero() || !e.Time.After(q.From)
		}
		if after && (q.Level == "" || e.Level.AtLeast(q.Level)) && strings.Contains(e.Message, q.Search) {
			list = append(list, e)
		}
	}
	if q.Backward {
		slices.Reverse(list)
	}
	return list[:min(len(list), q.Limit)], nil
}

// Wakes has resume called by Wake until ctx ends.
func (n *Node) Wakes(ctx context.Context, resume func(context.Context, shoal.Wake) error) error {
	n.mu.Lock()
	n.waker = resume
	n.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// Wake is traffic that comes for a paused sandbox. It is nothing if nobody has called Wakes.
func (n *Node) Wake(ctx context.Context, w shoal.Wake) error {
	n.mu.Lock()
	waker := n.waker
	n.mu.Unlock()
	if waker == nil {
		return shoal.ErrWakerGone
	}
	return waker(ctx, w)
}

// Info describes the machine.
func (n *Node) Info(context.Context) (shoal.NodeInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	info := n.info
	info.Sandboxes = len(n.sandboxes)
	info.Builds = slices.Clone(info.Builds)
	return info, n.down
}

// Switch passes on how a feature stands, which tests read from Switched.
func (n *Node) Switch(_ context.Context, _ shoal.Switches, standing shoal.Standing) error {
	n.mu.Lock()
	down := n.down
	n.mu.Unlock()
	if down == nil {
		select {
		case n.switched <- standing:
		default: // the test does not ask
		}
	}
	return down
}
