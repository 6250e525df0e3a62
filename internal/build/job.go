// Package build is what happens between the request for a template build and the
// template: jobs, their log, the files that clients upload for them, and the queue
// that runs a few at a time in an Engine, which makes the images.
package build

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"shoal/internal/shoal"
)

// The values of Failure.Step and Entry.Step that are not the number of a step.
// Clients turn them into the line of the caller's program (templates.md §1.9).
const (
	StepBase     = "base"
	StepFinalize = "finalize"
)

// Job is one build as it was asked for, with everything that could be looked up.
type Job struct {
	TeamID     string
	TemplateID string
	BuildID    string
	// Resources are those of the sandboxes; DiskMB is the free space that the
	// template should offer.
	Resources shoal.Resources

	// Exactly one of FromImage and FromTemplate is set. FromTemplate is ready;
	// FromReference is how the client named it.
	FromImage     string
	Registry      *Registry // nil pulls anonymously
	FromTemplate  *shoal.Build
	FromReference string

	Steps    []Step
	StartCmd string // empty inherits FromTemplate's, if ReadyCmd is empty too
	ReadyCmd string

	// Force rebuilds everything, the base included.
	Force bool
	// RootBuild is how SDKs before 2.3.0 want it: no default-user phase, steps run
	// as root, the sandbox's user is "user", no default workdir (templates.md §3.4).
	RootBuild bool
	// CacheScope names who shares layers and uploaded files with this build.
	CacheScope string
}

// Origin is what the job stands on, as shoal.Build has it.
func (j Job) Origin() string {
	if j.FromTemplate != nil {
		return "template:" + j.FromTemplate.ID
	}
	return "image:" + j.FromImage
}

// Registry is a login for pulling FromImage (templates.md §1.3). It is neither
// stored nor logged.
type Registry struct {
	Type string // "registry", "aws" or "gcp"

	Username, Password string // registry

	AWSAccessKeyID, AWSSecretAccessKey, AWSRegion string // aws

	ServiceAccountJSON string // gcp
}

// String hides the credentials from format verbs.
func (r Registry) String() string { return r.Type + " credentials" }

// GoString hides the credentials from %#v.
func (r Registry) GoString() string { return r.String() }

// LogValue hides the credentials from logs.
func (r Registry) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Step is one instruction of a template.
type Step struct {
	// Type is in upper case: RUN, COPY, ADD, WORKDIR, USER, ENV or ARG.
	Type string
	Args []string
	// FilesHash names the uploaded archive of a COPY.
	FilesHash string
	// Force rebuilds this step and all after it.
	Force bool
}

// String is the step as build logs show it and as cache keys contain it.
func (s Step) String() string { return s.Type + " " + strings.Join(s.Args, " ") }

// check returns what is wrong with the arguments, or "" (templates.md §1.4).
func (s Step) check() string {
	first := ""
	if len(s.Args) > 0 {
		first = s.Args[0]
	}
	switch s.Type {
	case "RUN":
		if first == "" {
			return "RUN requires command argument"
		}
	case "COPY", "ADD":
		if len(s.Args) < 2 || first == "" || s.Args[1] == "" {
			return s.Type + " requires a local path and a container path argument"
		}
		if s.FilesHash == "" {
			return s.Type + " requires files hash to be set"
		}
		if !ValidHash(s.FilesHash) {
			return "Invalid files hash"
		}
	case "WORKDIR":
		if first == "" {
			return "WORKDIR requires a path argument"
		}
	case "USER":
		if first == "" {
			return "USER requires a username argument"
		}
	case "ENV", "ARG":
		if len(s.Args) == 0 {
			return s.Type + " does not support passing no arguments"
		}
		if len(s.Args)%2 != 0 {
			return s.Type + " requires both a key and value arguments"
		}
	default:
		return "command type " + s.Type + " is not implemented"
	}
	return ""
}

// checkSteps returns the failure of the first step that no engine could run.
func checkSteps(steps []Step) *Failure {
	for i, s := range steps {
		if wrong := s.check(); wrong != "" {
			return &Failure{Message: wrong, Step: StepNumber(i)}
		}
	}
	return nil
}

// StepNumber is the name of Job.Steps[index] in logs and failures: "1" and on.
func StepNumber(index int) string { return strconv.Itoa(index + 1) }

// Failure is an error of the user's template: its message is shown as it is, and
// blamed on its step. Engines wrap it or return it bare; any other error is an
// internal one, whose text only the server's log has.
type Failure struct {
	Message string
	// Step is StepBase, a StepNumber, StepFinalize, or "" if no step is to blame.
	Step string
}

var _ error = (*Failure)(nil)

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Result is what a finished build stores.
type Result struct {
	// Layers are the content addresses of the images, lowest first; at least one.
	Layers      []string
	EnvdVersion string
	// DiskMB is the writable space of sandboxes; 0 keeps the job's.
	DiskMB int64
	// DefaultUser and DefaultWorkdir become envd's defaults in every sandbox.
	DefaultUser    string
	DefaultWorkdir string
	// Context is what the last step left behind, for builds on top of this one.
	Context shoal.BuildContext
	// Start is what has to run in each sandbox, inherited or the job's.
	Start shoal.StartBlock
}

// Engine makes images.
type Engine interface {
	// Build carries a job out. It logs what happens, but for the first and the last
	// line, which are the queue's. When ctx ends it leaves nothing half made behind
	// and returns soon; what it returns then is ignored. Errors of the user's
	// template are Failures. It may be called for several jobs at once.
	Build(ctx context.Context, job Job, log Log) (Result, error)
}

// NoEngine fails every build. It stands where no engine is.
type NoEngine struct{}

var _ Engine = NoEngine{}

// Build says that there is no engine.
func (NoEngine) Build(context.Context, Job, Log) (Result, error) {
	return Result{}, &Failure{Message: "build engine not available: this API runs apart from the builder; use that of a `shoal up`", Step: StepBase}
}
