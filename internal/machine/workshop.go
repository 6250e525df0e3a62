package machine

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/build"
	"shoal/internal/build/engine"
	"shoal/internal/orchestrator"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// workshop adapts the orchestrator's workshop to engine.Machine.
type workshop struct{ *orchestrator.Workshop }

var _ engine.Machine = workshop{}

// Open boots a guest from the images of a build.
func (w workshop) Open(ctx context.Context, b shoal.Build) (engine.Workbench, error) {
	bench, err := w.Workshop.Open(ctx, b)
	if err != nil {
		return nil, refuseRuntime(b.Runtime, err)
	}
	return workbench{bench}, nil
}

// KeepBuild makes sandboxes of a build start from its images.
func (w workshop) KeepBuild(ctx context.Context, b shoal.Build) error {
	return refuseRuntime(b.Runtime, w.Workshop.KeepBuild(ctx, b))
}

// refuseRuntime tells the template's author that this machine lacks the required runtime.
func refuseRuntime(wish shoal.RuntimeWish, err error) error {
	if !errors.Is(err, runtime.ErrUnfit) {
		return err
	}
	return &build.Failure{Message: fmt.Sprintf("the template requires the runtime '%s', "+
		"which the machine that builds it does not have; prefer it instead, or build there", wish.Name)}
}

// workbench adapts the orchestrator's workbench to engine.Workbench.
type workbench struct{ *orchestrator.Workbench }

var _ engine.Workbench = workbench{}

// Guest returns the interface to the guest's files and commands.
func (b workbench) Guest() engine.Guest { return b.Workbench.Guest() }
