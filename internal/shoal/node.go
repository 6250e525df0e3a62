package shoal

import (
	"context"
	"errors"
	"time"
)

// NodeStatus is whether a machine takes new sandboxes.
type NodeStatus string

const (
	NodeReady     NodeStatus = "ready"
	NodeDraining  NodeStatus = "draining"
	NodeUnhealthy NodeStatus = "unhealthy"
)

// NodeInfo describes one machine.
type NodeInfo struct {
	ID       string
	Version  string
	Status   NodeStatus
	CPUCount int
	// MemoryTotal is in bytes.
	MemoryTotal int64
	Sandboxes   int
	Starting    int
	CreateOK    int64
	CreateFail  int64
	// Runtimes are the names of the machine's isolation runtimes, the preferred one first.
	Runtimes []string
	// Builds are the template builds that this machine can start.
	Builds []Build
}

// Inventory is what a store knows of builds. Machines collect their garbage by it, if they
// believe it.
type Inventory struct {
	// Installation is the ID of the store's installation; empty if it comes from an api that
	// does not say.
	Installation string
	// Builds are those that sandboxes may be made from, now or later; Ended those that failed
	// or were retired, or whose template was deleted.
	Builds []string
	Ended  []string
}

// CollectOptions are what an operator may ask of a collection.
type CollectOptions struct {
	// Adopt believes the inventory whatever it says, and marks the machine's snapshots as its
	// installation's.
	Adopt bool
	// EmptyTrash removes all that is in the trash, however new.
	EmptyTrash bool
}

// Collected counts what a collection did, because nothing referred to it.
type Collected struct {
	// Builds and Snapshots were put into the trash: what sandboxes could be made from, and
	// what was kept by pauses. Trashed is their size in bytes.
	Builds    int
	Snapshots int
	Trashed   int64
	// Restored counts those that came back from the trash, because something refers to them.
	Restored int
	// Emptied counts those that left the trash for good; Images, with what runtimes have made of them, and
	// Kernels were removed, too.
	// Freed is the size of all three in bytes.
	Emptied int
	Images  int
	Kernels int
	Freed   int64
	// InTrash counts what is in the trash then, InTrashBytes its size.
	InTrash      int
	InTrashBytes int64
}

// Plus adds up what two machines did.
func (c Collected) Plus(other Collected) Collected {
	c.Builds += other.Builds
	c.Snapshots += other.Snapshots
	c.Trashed += other.Trashed
	c.Restored += other.Restored
	c.Emptied += other.Emptied
	c.Images += other.Images
	c.Kernels += other.Kernels
	c.Freed += other.Freed
	c.InTrash += other.InTrash
	c.InTrashBytes += other.InTrashBytes
	return c
}

// Node is one machine that runs sandboxes. The orchestrator implements it, and
// so does the RPC client in fleet; callers need not know which they hold.
// All methods return catalogue errors; an unknown sandbox is ErrSandboxNotFound,
// and a paused one is ErrSandboxNotRunning to what needs a running one.
type Node interface {
	// Create returns when the guest's envd answers and has been initialized.
	Create(ctx context.Context, spec Spec) (Sandbox, error)
	Get(ctx context.Context, sandboxID string) (Sandbox, error)
	List(ctx context.Context) ([]Sandbox, error)
	// Kill returns when the guest is gone. Killing while a kill runs joins it.
	Kill(ctx context.Context, sandboxID string, reason KillReason) error
	SetDeadline(ctx context.Context, sandboxID string, change DeadlineChange) (Sandbox, error)
	SetNetwork(ctx context.Context, sandboxID string, network Network) error
	// Pause keeps a running sandbox, with its memory or only its disk, and returns
	// it as it is then, when it can be resumed. Pauses of the same sandbox join. After an
	// error it runs on; it is ErrDaemonSilent if the daemon must answer and does not.
	Pause(ctx context.Context, sandboxID string, opts PauseOptions) (Sandbox, error)
	// Resume brings a paused sandbox back and returns when it can be used. Resumes
	// join. A sandbox that runs is ErrSandboxRunning; one whose daemon was silent comes back
	// from its disk only, and is ErrSnapshotSilent otherwise.
	Resume(ctx context.Context, sandboxID string, opts ResumeOptions) (Sandbox, error)
	// Snapshot makes a build of a running sandbox, which goes on.
	Snapshot(ctx context.Context, sandboxID string, into SnapshotTarget) (Build, error)
	// Fork starts a copy of a running sandbox for each specification; each may fail
	// by itself. The sandbox goes on.
	Fork(ctx context.Context, sandboxID string, specs []Spec) ([]ForkResult, error)
	// RemoveBuild forgets a build that was made of a sandbox. An unknown one is no
	// error.
	RemoveBuild(ctx context.Context, buildID string) error
	// Collect removes what nothing refers to any more; snapshots rest in the trash first.
	// It does nothing and returns ErrForeignStore or ErrSuspiciousStore if it does not
	// believe the inventory.
	Collect(ctx context.Context, known Inventory, opts CollectOptions) (Collected, error)
	// Metrics returns what a team's sandbox used, which may have ended: the maximum of each
	// MetricStep, oldest first. There is none of an unknown one, or of another team's.
	Metrics(ctx context.Context, sandboxID string, q MetricsQuery) ([]Sample, error)
	// LatestMetrics returns the last sample of each of a team's sandboxes that has one.
	LatestMetrics(ctx context.Context, teamID string, sandboxIDs []string) (map[string]Sample, error)
	// EgressRecords returns what became of connections of a team's sandbox, which may have ended,
	// newest first. There is none of an unknown one, or of another team's.
	EgressRecords(ctx context.Context, sandboxID string, q EgressQuery) ([]EgressRecord, error)
	// Tallies returns how many sandboxes teams had, those with a count from after a time; the
	// latest ones may go on. What apis have not asked for in hours is dropped.
	Tallies(ctx context.Context, after time.Time) ([]Tally, error)
	// Logs returns a part of the log of a team's sandbox, which may have ended. There
	// is none of an unknown one, or of another team's.
	Logs(ctx context.Context, sandboxID, teamID string, q LogQuery) ([]LogEntry, error)
	// Events returns events of the machine's sandboxes that come after a mark, oldest first,
	// and waits for a while if there are none. What is before the mark is stored elsewhere, so
	// the machine forgets it. A mark of another log counts as the beginning.
	Events(ctx context.Context, after EventMark) (EventBatch, error)
	Info(ctx context.Context) (NodeInfo, error)
	// Switch tells the machine how a feature stands that it refuses by itself. It keeps that.
	Switch(ctx context.Context, feature Switches, standing Standing) error
	// Wakes has resume called for each paused sandbox that traffic comes for, several at
	// once. resume resumes it, or returns why not. It returns an error when that is over,
	// because ctx ended or the machine cannot be reached.
	Wakes(ctx context.Context, resume func(context.Context, Wake) error) error
	// Fills has fill called for each request of the machine for values of placeholders, several at
	// once. It returns an error when that is over, as Wakes does.
	Fills(ctx context.Context, fill func(context.Context, Fill) (map[Placeholder]string, error)) error
}

// ErrWakerGone means that whoever called Wakes cannot be asked any more.
var ErrWakerGone = errors.New("who resumes sandboxes for traffic is gone")

// Wake is a paused sandbox that traffic has come for. It asks for what Resume does, of one who
// knows what the team runs on all machines, and what it may run now.
type Wake struct {
	SandboxID string
	TeamID    string
	TeamLimit int // Spec.TeamLimit, which counts if nothing newer is known
	Timeout   time.Duration
}
