package shoal

import (
	"context"
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

// Collected counts what was removed because nothing referred to it.
type Collected struct {
	Builds    int // snapshots that sandboxes could be made from
	Snapshots int // of pauses
	Images    int
	Kernels   int
	Bytes     int64
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
	// when it can be resumed. Pauses of the same sandbox join. After an error it
	// runs on; it is ErrDaemonSilent if the daemon must answer and does not.
	Pause(ctx context.Context, sandboxID string, opts PauseOptions) error
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
	// Collect removes what nothing refers to any more. known are all builds that
	// the store has.
	Collect(ctx context.Context, known []string) (Collected, error)
	// Metrics returns the kept samples in [from, to], oldest first.
	Metrics(ctx context.Context, sandboxID string, from, to time.Time) ([]Metrics, error)
	// Logs returns a part of the log of a team's sandbox, which may have ended. There
	// is none of an unknown one, or of another team's.
	Logs(ctx context.Context, sandboxID, teamID string, q LogQuery) ([]LogEntry, error)
	Info(ctx context.Context) (NodeInfo, error)
}
