package orchestrator

import (
	"context"
	"errors"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Shells are sandbox kernels that were started ahead, in a slot, without a guest: what is
// common to every start and every resume on one root image.

// shellKey is what a kernel is told when it starts.
type shellKey struct {
	runtime   string
	root      runtime.Root
	resources shoal.Resources
}

// shellFor is the key of the shells that a guest could start in; false if it cannot start
// in any.
func shellFor(runtimes runtime.Set, from guest.Source, resources shoal.Resources) (shellKey, bool) {
	if from.Upper != "" {
		return shellKey{}, false
	}
	var rt runtime.Runtime
	var err error
	if from.Checkpoint == "" {
		rt, err = runtimes.Choose(from.Runtime)
	} else {
		rt, err = runtimes.Named(from.Made.Runtime)
	}
	if err != nil {
		return shellKey{}, false
	}
	present := rt.Maker()
	if from.Checkpoint != "" && (from.Made.Kernel != present.Kernel || rt.Fits(from.Made) != nil) {
		return shellKey{}, false
	}
	return shellKey{runtime: present.Runtime, root: from.Root, resources: resources}, true
}

// startShell starts a kernel ahead.
func (k *keeper) startShell(ctx context.Context, key shellKey) (*guest.Guest, error) {
	shell, err := k.host.Reserve(ctx, guest.Plan{ID: "shell-" + shoal.NewExecutionID()[:18],
		Resources: key.resources, Claimable: true},
		guest.Source{Root: key.root, Runtime: shoal.RuntimeWish{Name: key.runtime, Required: true}})
	if err != nil {
		return nil, err
	}
	err = shell.SetEgress(ctx, k.openEgress) // nothing is there yet that could use it
	if err == nil {
		err = shell.Prepare(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, shell.Stop(context.WithoutCancel(ctx)))
	}
	return shell, nil
}
