package machine

import (
	"context"

	"shoal/internal/build/engine"
	"shoal/internal/orchestrator"
	"shoal/internal/shoal"
)

// workshop adapts the orchestrator's workshop to engine.Machine.
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

// workbench adapts the orchestrator's workbench to engine.Workbench.
type workbench struct{ *orchestrator.Workbench }

var _ engine.Workbench = workbench{}

// Guest returns the interface to the guest's files and commands.
func (b workbench) Guest() engine.Guest { return b.Workbench.Guest() }
