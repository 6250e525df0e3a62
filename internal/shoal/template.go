package shoal

import (
	"errors"
	"time"
)

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

// TemplateSource is what a template was made from. Those made of sandboxes are
// not listed among templates.
type TemplateSource string

const (
	SourceTemplate TemplateSource = "template"          // a build's steps
	SourceSnapshot TemplateSource = "snapshot_template" // a running sandbox
)

// Template is a named thing that sandboxes are made from.
type Template struct {
	ID        string
	TeamID    string
	Public    bool
	CreatedAt time.Time
	UpdatedAt time.Time
	// LastSpawnedAt is zero until the first sandbox.
	LastSpawnedAt time.Time
	SpawnCount    int64
	BuildCount    int32
	Aliases       []Alias
	// Source is never empty in what the store returns; "" stores SourceTemplate.
	Source TemplateSource
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
	// Snapshot means that guests begin with what the machine that made the build has kept of
	// a running one: its memory and disk, or its disk.
	Snapshot bool
	// SandboxID is the sandbox that the build was made of; "" if of none.
	SandboxID string
	// DefaultUser and DefaultWorkdir become envd's defaults in every sandbox.
	DefaultUser    string
	DefaultWorkdir string
	// Layers are the content addresses of all images, lowest first; nil means
	// ImageDigest alone, otherwise ImageDigest is the first of them.
	Layers []string
	// Origin is what the build stands on: "image:<reference>" or
	// "template:<buildID>"; empty for what Shoal makes by itself.
	Origin string
	// Context is what the steps left behind; a child build goes on from it.
	Context BuildContext
	Start   StartBlock
	// Runtime is by which isolation runtime its guests run.
	Runtime RuntimeWish
	// Size is what a machine says the build takes there; nil if no machine has said it. The
	// store adds it up and does not return it.
	Size *BuildSize
	// Reason says why the build failed; zero unless Status is BuildError.
	Reason     BuildReason
	CreatedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt time.Time // zero while unfinished
}

// BuildSize is what a build takes on a disk, in bytes.
type BuildSize struct {
	Snapshot int64   // the memory and the disk that its guests begin with
	Images   []int64 // each of Build.Images
}

// RuntimeWish says by which isolation runtime guests should run. The zero value leaves the
// choice to the machine.
type RuntimeWish struct {
	Name string `json:"name,omitempty"`
	// Required means that no other runtime will do; otherwise the name is a preference.
	Required bool `json:"required,omitempty"`
}

// Images returns the content addresses of the build's images, lowest first.
func (b Build) Images() []string {
	if len(b.Layers) > 0 {
		return b.Layers
	}
	if b.ImageDigest == "" {
		return nil
	}
	return []string{b.ImageDigest}
}

// BuildContext is what a step of a build runs in (templates.md §3.3).
type BuildContext struct {
	User    string            `json:"user,omitempty"`
	Workdir string            `json:"workdir,omitempty"` // empty is the user's home
	Env     map[string]string `json:"env,omitempty"`
}

// StartBlock is what runs inside a template, with the context of the build that
// named it, which may be an ancestor's (templates.md §3.7).
type StartBlock struct {
	Command string       `json:"command,omitempty"`
	Ready   string       `json:"ready,omitempty"`
	Context BuildContext `json:"context"`
}

// BuildReason is why a build failed.
type BuildReason struct {
	Message string
	// Step is "base", "1" to the number of steps, "finalize", or empty.
	Step string
}

// ErrJustBuilt means that a template was built a moment ago: whoever has not found it should
// look again. Users never see it.
var ErrJustBuilt = errors.New("the template has just been built")
