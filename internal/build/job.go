// Package build turns requests for template builds into templates: jobs, their logs, the
// files that clients upload for them, and the queue that runs a few jobs at a time in an
// Engine, which makes the images.
package build

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"shoal/internal/shoal"
)

// Values of Failure.Step and Entry.Step other than the number of a step. Clients map them
// to a line of the caller's program (templates.md §1.9).
const (
	StepBase     = "base"
	StepFinalize = "finalize"
)

// Job is a requested build, with everything that could be looked up in advance.
type Job struct {
	TeamID     string
	TemplateID string
	BuildID    string
	// Resources are those of the template's sandboxes; DiskMB is the free space that they
	// should have.
	Resources shoal.Resources

	// Exactly one of FromImage and FromTemplate is set. The build in FromTemplate is ready;
	// FromReference is the name that the client used.
	FromImage     string
	Registry      *Registry // nil means an anonymous pull
	FromTemplate  *shoal.Build
	FromReference string

	Steps    []Step
	StartCmd string // if this and ReadyCmd are empty, FromTemplate's are used
	ReadyCmd string

	// Runtime is by which isolation runtime the guests of the template and of its steps run:
	// the client's wish, or else FromTemplate's. Layers are shared whatever it is.
	Runtime shoal.RuntimeWish

	// Force rebuilds everything, including the base.
	Force bool
	// RootBuild serves SDKs before 2.3.0: there is no default-user phase, steps run as
	// root, the sandbox's user is "user", and there is no default workdir (templates.md
	// §3.4).
	RootBuild bool
	// CacheScope names the scope that shares layers and uploaded files with this build.
	CacheScope string
}

// Origin is the image or template that the job builds on, in the form of shoal.Build.
func (j Job) Origin() string {
	if j.FromTemplate != nil {
		return "template:" + j.FromTemplate.ID
	}
	return "image:" + j.FromImage
}

// Registry holds credentials for pulling FromImage (templates.md §1.3). It is neither
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
	// Force rebuilds this step and all steps after it.
	Force bool
}

// String returns the step as it appears in build logs and cache keys.
func (s Step) String() string { return s.Type + " " + strings.Join(s.Args, " ") }

// check returns what is wrong with the arguments, or "" (templates.md §1.4).
func (s Step) check() string {
	first := ""
	if len(s.Args) > 0 {
		first = s.Args[0]
	}
	if slices.ContainsFunc(s.Args, func(arg string) bool { return strings.Contains(arg, "\x00") }) {
		return s.Type + " has a NUL, which no program can be passed"
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
		return checkNames(s)
	default:
		return "command type " + s.Type + " is not implemented"
	}
	return ""
}

// checkNames returns what is wrong with the names of variables: a program could not be started
// with them.
func checkNames(s Step) string {
	for i := 0; i < len(s.Args); i += 2 {
		switch name := s.Args[i]; {
		case name == "":
			return s.Type + " has a variable without a name"
		case strings.Contains(name, "="):
			return fmt.Sprintf("%s: the name %.64q of a variable must not contain =", s.Type, name)
		}
	}
	return ""
}

// checkSteps returns the failure of the first step that no engine could run, or nil.
func checkSteps(steps []Step) *Failure {
	for i, s := range steps {
		if wrong := s.check(); wrong != "" {
			return &Failure{Message: wrong, Step: StepNumber(i)}
		}
	}
	return nil
}

// StepNumber is the name of Job.Steps[index] in logs and failures, counted from "1".
func StepNumber(index int) string { return strconv.Itoa(index + 1) }

// Failure is an error in the user's template. The user sees its message, and the step to
// blame. Engines return it bare or wrapped; any other error is internal, and its text
// appears only in the server's log.
type Failure struct {
	Message string
	// Step is StepBase, a StepNumber, StepFinalize, or "" if no step is to blame.
	Step string
}

var _ error = (*Failure)(nil)

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Result is what the store keeps of a finished build.
type Result struct {
	// Layers are the digests of the images, lowest first; there is at least one.
	Layers      []string
	EnvdVersion string
	// DiskMB is the disk size of sandboxes; 0 keeps the job's.
	DiskMB int64
	// DefaultUser and DefaultWorkdir become envd's defaults in every sandbox.
	DefaultUser    string
	DefaultWorkdir string
	// Context is the context after the last step, for builds on top of this one.
	Context shoal.BuildContext
	// Start is what to run in each sandbox: the job's own, or inherited.
	Start shoal.StartBlock
}

// Engine makes images.
type Engine interface {
	// Build carries out a job. It logs what happens, except for the first and the last
	// line, which the queue writes. When ctx is done, it leaves nothing half made and
	// returns soon; that result is ignored. Errors of the user's template are Failures.
	// Several jobs may be built at once.
	Build(ctx context.Context, job Job, log Log) (Result, error)
}

// NoEngine fails every build, for a process without an engine.
type NoEngine struct{}

var _ Engine = NoEngine{}

// Build fails, because there is no engine.
func (NoEngine) Build(context.Context, Job, Log) (Result, error) {
	return Result{}, &Failure{Message: "build engine not available: this API runs apart from the builder; " +
		"use that of a `shoal up`", Step: StepBase}
}
