package shoal

import (
	"time"

	"shoal/internal/envdapi"
)

// State is what a sandbox is doing. Clients see only running and paused.
type State string

const (
	StateCreating     State = "creating"
	StateRunning      State = "running"
	StatePausing      State = "pausing"
	StatePaused       State = "paused"
	StateResuming     State = "resuming"
	StateSnapshotting State = "snapshotting"
	StateKilling      State = "killing"
)

// Public is the state a client is shown: a sandbox on its way to a pause is
// already paused, everything else that lives is running.
func (s State) Public() State {
	switch s {
	case StatePausing, StatePaused, StateResuming:
		return StatePaused
	default:
		return StateRunning
	}
}

// PauseMode is what a pause has kept of a sandbox; the words are E2B's.
type PauseMode string

const (
	PauseFull PauseMode = "full"       // memory and disk
	PauseDisk PauseMode = "filesystem" // the disk alone
)

// KillReason says why a sandbox ended; it appears in events and logs.
type KillReason string

const (
	KillRequest  KillReason = "request"
	KillTimeout  KillReason = "timeout"
	KillAdmin    KillReason = "admin"
	KillOrphaned KillReason = "orphaned"
	KillCrashed  KillReason = "crashed"
	KillUnknown  KillReason = "unknown"
	KillDown     KillReason = "down"
)

// Resources is what a guest may use at most.
type Resources struct {
	CPUCount int   `json:"cpuCount"` // virtual CPUs
	MemoryMB int64 `json:"memoryMB"` // MiB
	DiskMB   int64 `json:"diskMB"`   // MiB of writable layer on top of the template
}

// MaxVariable bounds an environment variable with its name, in bytes: Linux starts no program
// with a longer one.
const MaxVariable = 128<<10 - 2

// Spec is everything that is decided about a sandbox before it is placed. It is
// immutable but for Network, which PUT /network replaces.
type Spec struct {
	SandboxID   string            `json:"sandboxID"`
	TeamID      string            `json:"teamID"`
	TemplateID  string            `json:"templateID"`
	BuildID     string            `json:"buildID"`
	Alias       string            `json:"alias,omitempty"`
	EnvdVersion string            `json:"envdVersion"`
	Resources   Resources         `json:"resources"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	// EnvVars reach the guest once, through envd; they are never written to disk.
	EnvVars map[string]string `json:"-"`
	Timeout time.Duration     `json:"timeout"`
	// MaxLength bounds one execution, counted from its start.
	MaxLength time.Duration `json:"maxLength"`
	Lifecycle Lifecycle     `json:"lifecycle"`
	Network   Network       `json:"network"`
	// EnvdAccessToken guards the guest daemon; empty means the sandbox is open.
	EnvdAccessToken string        `json:"envdAccessToken,omitempty"`
	VolumeMounts    []VolumeMount `json:"volumeMounts,omitempty"`
	// WorkloadTokens are by the names that placeholders have for them.
	WorkloadTokens map[string]WorkloadToken `json:"workloadTokens,omitempty"`
	DefaultUser    string                   `json:"defaultUser,omitempty"`
	DefaultWorkdir string                   `json:"defaultWorkdir,omitempty"`
	// TeamLimit is how many sandboxes the team might run at once when this one was
	// made. Wake-ups by traffic are held to it while no api is there to decide about them.
	TeamLimit int `json:"teamLimit,omitempty"`
}

// Sandbox is a placed sandbox as its node knows it.
type Sandbox struct {
	Spec
	State       State     `json:"state"`
	ExecutionID string    `json:"executionID"`
	NodeID      string    `json:"nodeID"`
	StartedAt   time.Time `json:"startedAt"` // of this execution, UTC
	EndAt       time.Time `json:"endAt"`     // deadline, UTC
	// HostIP is the address at which the node's host reaches every guest port.
	HostIP string `json:"hostIP,omitempty"`
	// Runtime is the name of what isolates its guest; empty until it has begun.
	Runtime string `json:"runtime,omitempty"`
	// ColdBoot means that this execution began from the disk of a paused sandbox,
	// without the memory that it had.
	ColdBoot bool `json:"coldBoot,omitempty"`
	// KeptBytes is what a paused sandbox takes on the disk; 0 while it runs.
	KeptBytes int64 `json:"keptBytes,omitempty"`
	// PauseMode is what a paused sandbox comes back from; empty while it runs, and until a
	// pause is over.
	PauseMode PauseMode `json:"pauseMode,omitempty"`
	// DaemonSilent means of a paused sandbox that its daemon did not answer when it was
	// paused, so that its memory is of no use.
	DaemonSilent bool `json:"daemonSilent,omitempty"`
}

// EnvdPort is the port of every sandbox that belongs to its daemon.
const EnvdPort = envdapi.Port

// EnvdURL is the daemon's address as seen from the node's host.
func (s Sandbox) EnvdURL() string {
	if s.HostIP == "" {
		return ""
	}
	return envdapi.URL(s.HostIP)
}

// Lifecycle is what happens at the deadline and on traffic afterwards.
type Lifecycle struct {
	AutoPause       bool          `json:"autoPause,omitempty"`
	AutoPauseNoMem  bool          `json:"autoPauseNoMem,omitempty"` // keep only the disk
	AutoResume      bool          `json:"autoResume,omitempty"`
	AutoResumeAfter time.Duration `json:"autoResumeAfter,omitempty"` // lease of a traffic-woken run
}

// Network is a sandbox's network policy, in the shape clients send it.
type Network struct {
	// AllowInternet is nil when the client never chose; false denies all egress
	// that AllowOut does not name.
	AllowInternet *bool    `json:"allowInternet,omitempty"`
	AllowOut      []string `json:"allowOut,omitempty"` // IPs, CIDRs or domain patterns
	DenyOut       []string `json:"denyOut,omitempty"`  // IPs or CIDRs
	// DNSServers are kept as the client sent them; nil if it never did. They allow nothing:
	// names are resolved by the machine.
	DNSServers []string `json:"dnsServers,omitzero"`
	// TrafficAccessToken is set when public traffic is not allowed.
	TrafficAccessToken string `json:"trafficAccessToken,omitempty"`
	MaskRequestHost    string `json:"maskRequestHost,omitempty"` // "${PORT}" is replaced
	HTTPSPorts         []int  `json:"httpsPorts,omitempty"`
	// EgressProxy is nil for a sandbox whose connections leave from its machine.
	EgressProxy *EgressProxy `json:"egressProxy,omitempty"`
	// Transforms are by domain in lower case: a name, or "*." and a suffix of names.
	Transforms map[string]Transform `json:"transforms,omitempty"`
}

// DeadlineChange moves a sandbox's deadline.
type DeadlineChange struct {
	Timeout time.Duration // from now
	// ExtendOnly keeps the later of the two deadlines (connect, refreshes).
	ExtendOnly bool
	// Wait lets a change of state that is under way finish first, instead of
	// refusing.
	Wait bool
}

// PauseOptions is what a pause keeps, and of what it makes sure.
type PauseOptions struct {
	Memory bool // or else only the disk
	// RequireDaemon refuses the pause of a sandbox whose daemon does not answer.
	RequireDaemon bool
}

// ResumeOptions is how a paused sandbox comes back.
type ResumeOptions struct {
	Timeout time.Duration
	// ColdBoot ignores the memory that was kept: the guest boots from its disk.
	ColdBoot bool
}

// SnapshotTarget names the build that a snapshot becomes, and what it takes.
type SnapshotTarget struct {
	TemplateID string
	BuildID    string
	DiskOnly   bool // without the memory: sandboxes of the build boot
}

// ForkResult is one copy of a sandbox, or why there is none.
type ForkResult struct {
	Sandbox Sandbox
	Err     error
}
