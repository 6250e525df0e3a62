package guest

import (
	"fmt"

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

// WithVolumes is how a guest starts that is to have volumes: from the same, or, where guests of that
// runtime have none, by another runtime from the images, after which Start has to run. If there is no such
// way, the error is a runtime.ErrUnfit.
func (h *Host) WithVolumes(from Source) (Source, error) {
	if from.Checkpoint != "" {
		rt, err := h.runtimes.Named(from.Made.Runtime)
		if err != nil || rt.Volumes() {
			return from, nil // what is wrong with it is found when it is restored
		}
		if from.Cold == nil {
			return from, fmt.Errorf("%w: guests under %s have no volumes", runtime.ErrUnfit, from.Made.Runtime)
		}
		cold := *from.Cold
		cold.Start = from.Start
		from = cold
	}
	rt, err := h.runtimes.ChooseVolumes(from.Runtime)
	if err != nil {
		return from, err
	}
	from.Runtime = shoal.RuntimeWish{Name: rt.Maker().Runtime, Required: true}
	return from, nil
}
