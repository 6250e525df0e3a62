package machine

import (
	"context"

	"shoal/internal/build/engine"
	"shoal/internal/orchestrator"
	"shoal/internal/shoal"
)

// workshop is this machine's, as an engine wants it.
type workshop struct{ *orchestrator.Workshop }

var _ engine.Machine = workshop{}

// Open boots a guest from the images of a build.
func (w workshop) Open(ctx context.Context, build shoal.Build) (engine.Workbench, error) {
	bench, err := w.Workshop.Open(ctx, build)
	if err != nil {
		return nil, err
	}
	return workbench{bench}, nil
}

type workbench struct{ *orchestrator.Workbench }

var _ engine.Workbench = workbench{}

// Guest is the way into the guest.
func (b workbench) Guest() engine.Guest { return b.Workbench.Guest() }
