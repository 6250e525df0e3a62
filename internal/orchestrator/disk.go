package orchestrator

import (
	"context"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// canCaptureDisk says whether the disk can be kept by itself.
func (o *Orchestrator) canCaptureDisk() bool { return false }

func (o *Orchestrator) captureDisk(ctx context.Context, sb *sandbox, guest runtime.Guest, name string) error {
	return shoal.ErrNotImplemented.New("Pausing without memory is not available")
}

func (o *Orchestrator) hasDisk(from saved) bool { return false }

func (o *Orchestrator) bootDisk(ctx context.Context, sb *sandbox, from saved, l lease) error {
	return shoal.ErrMemoryOverride.New("Resuming without memory (memory: false) is not enabled for this team; a plain resume still restores memory")
}
