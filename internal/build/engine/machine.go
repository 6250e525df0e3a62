package engine

import (
	"context"
	"io"
	"os"

	"shoal/internal/envdapi/client"
	"shoal/internal/shoal"
)

// Machine is where an engine's steps run. It may be another than the engine's own.
type Machine interface {
	// Open boots a guest from the images of a build; its disk is empty over them.
	Open(ctx context.Context, build shoal.Build) (Workbench, error)
	// KeepBuild makes sandboxes of a build begin with its images.
	KeepBuild(ctx context.Context, build shoal.Build) error
}

// Workbench is a guest in which a template is built.
type Workbench interface {
	Guest() Guest
	// Ended is closed when the guest has ended by itself.
	Ended() <-chan struct{}
	// Disk writes what is on the guest's disk over its images, as a tar, while the guest
	// stands still.
	Disk(ctx context.Context, to *os.File) error
	// Keep makes sandboxes of a build begin with the guest's memory as it is now.
	Keep(ctx context.Context, build shoal.Build) error
	// Close ends the guest; nothing of it is left.
	Close() error
}

// Guest runs commands and takes files. Its methods are those of client.Client.
type Guest interface {
	Run(ctx context.Context, cmd client.Command, started func(pid uint32), out client.Output) error
	Text(ctx context.Context, cmd client.Command) (string, error)
	Lives(ctx context.Context, pid uint32) (bool, error)
	Put(ctx context.Context, path string, content io.Reader) error
	Startup(ctx context.Context, block shoal.StartBlock, l client.Listener) error
}

var _ Guest = (*client.Client)(nil)
