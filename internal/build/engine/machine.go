package engine

import (
	"context"
	"io"
	"os"

	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
)

// Machine is where an engine's steps run. It may be a different machine than the engine's
// own.
type Machine interface {
	// Open boots a guest from the images of a build, with an empty disk over them.
	Open(ctx context.Context, build shoal.Build) (Workbench, error)
	// KeepBuild makes sandboxes of a build start from its images.
	KeepBuild(ctx context.Context, build shoal.Build) error
}

// Workbench is a guest in which a template is built.
type Workbench interface {
	Guest() Guest
	// Ended is closed when the guest has ended on its own.
	Ended() <-chan struct{}
	// Disk writes what the guest's disk has over its images, as a tar. The guest stands
	// still in the meantime.
	Disk(ctx context.Context, to *os.File) error
	// Keep makes sandboxes of a build start from the guest's current memory.
	Keep(ctx context.Context, build shoal.Build) error
	// Close ends the guest and leaves nothing behind.
	Close() error
}

// Guest runs commands and receives files. Its methods are those of client.Client.
type Guest interface {
	Run(ctx context.Context, cmd client.Command, started func(pid uint32), out client.Output) error
	Text(ctx context.Context, cmd client.Command) (string, error)
	Lives(ctx context.Context, pid uint32) (bool, error)
	Put(ctx context.Context, path string, content io.Reader) error
	Prepare(ctx context.Context) (run []string, err error)
	Startup(ctx context.Context, block shoal.StartBlock, l client.Listener) error
}

var _ Guest = (*client.Client)(nil)
