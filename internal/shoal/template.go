package shoal

import "time"

// BuildStatus is the public status of a template build.
type BuildStatus string

const (
	BuildWaiting  BuildStatus = "waiting"
	BuildBuilding BuildStatus = "building"
	BuildReady    BuildStatus = "ready"
	BuildError    BuildStatus = "error"
)

// NilBuildID stands for "no build yet" on the wire.
const NilBuildID = "00000000-0000-0000-0000-000000000000"

// DefaultTag is the tag of a reference that names none.
const DefaultTag = "default"

// TemplateSource is what a template was made from.
type TemplateSource string

const (
	SourceTemplate TemplateSource = "template"          // a build's steps
	SourceSnapshot TemplateSource = "snapshot_template" // a running sandbox
)

// Template is a named thing that sandboxes are made from.
type Template struct {
	ID        string
	TeamID    string
	Source    TemplateSource // "" is SourceTemplate
	Public    bool
	CreatedAt time.Time
	UpdatedAt time.Time
	// LastSpawnedAt is zero until the first sandbox.
	LastSpawnedAt time.Time
	SpawnCount    int64
	BuildCount    int32
	Aliases       []Alias
}

// Alias is a name of a template. An empty namespace is the global one.
type Alias struct {
	Namespace string
	Name      string
}

// Build is one attempt to make a template bootable.
type Build struct {
	ID          string
	TemplateID  string
	Status      BuildStatus
	Resources   Resources
	EnvdVersion string
	// ImageDigest is the content address of the root image, "sha256:<hex>".
	ImageDigest string
	// Snapshot means that guests begin with the memory of a running one, which the
	// machine that made the build keeps.
	Snapshot bool
	// SandboxID is the sandbox that the build was made of; "" if of none.
	SandboxID string
	// DefaultUser and DefaultWorkdir become envd's defaults in every sandbox.
	DefaultUser    string
	DefaultWorkdir string
	CreatedAt      time.Time
	UpdatedAt      time.Time
	FinishedAt     time.Time // zero while unfinished
}
