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
	// Builds are the template builds that this machine made by itself (the base
	// template) and can start.
	Builds []Build
}

// Node is one machine that runs sandboxes. The orchestrator implements it, and
// so does the RPC client in fleet; callers need not know which they hold.
// All methods return catalogue errors; an unknown sandbox is ErrSandboxNotFound.
type Node interface {
	// Create returns when the guest's envd answers and has been initialised.
	Create(ctx context.Context, spec Spec) (Sandbox, error)
	Get(ctx context.Context, sandboxID string) (Sandbox, error)
	List(ctx context.Context) ([]Sandbox, error)
	// Kill returns when the guest is gone. Killing while a kill runs joins it.
	Kill(ctx context.Context, sandboxID string, reason KillReason) error
	SetDeadline(ctx context.Context, sandboxID string, change DeadlineChange) (Sandbox, error)
	SetNetwork(ctx context.Context, sandboxID string, network Network) error
	// Metrics returns the kept samples in [from, to], oldest first.
	Metrics(ctx context.Context, sandboxID string, from, to time.Time) ([]Metrics, error)
	Info(ctx context.Context) (NodeInfo, error)
}
