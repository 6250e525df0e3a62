package guest

import (
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Source is what a guest starts from: a root file system, and for a guest that comes back
// the checkpoint that it comes back from.
type Source struct {
	Root runtime.Root
	// Checkpoint is the directory of a checkpoint; "" is a boot.
	Checkpoint string
	// Made is what took the checkpoint.
	Made runtime.Maker
	// Runtime is by which runtime a guest without a checkpoint runs.
	Runtime shoal.RuntimeWish
	// Volumes are what a guest with a checkpoint gets back of the volumes that it had.
	Volumes []runtime.Volume
	// Upper is what the disk begins with at a boot.
	Upper string
	// Verify, if set, reads whether the checkpoint's files are what was stored.
	Verify func() error
	// Cold, if set, is what to start from when the checkpoint cannot be restored. Start
	// has to run in that guest then.
	Cold  *Source
	Start shoal.StartBlock
}
