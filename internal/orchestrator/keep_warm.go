package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// Guests are started ahead for the builds that are asked for often, and stand frozen with
// their daemon ready. A create claims one (claim.go): it thaws the guest and tells it
// whose it is. Without one, cold_start.go starts a guest. A client sees nothing of this but
// the speed.

// warmGuest is a guest without a sandbox.
type warmGuest struct {
	*guest.Guest
	build    shoal.Build
	restored bool // it has the memory, and thus the environment, of a snapshot
}

// startWarm boots or restores a guest of a build without a sandbox, and freezes it when its
// daemon answers.
func (k *keeper) startWarm(ctx context.Context, build shoal.Build) (*warmGuest, error) {
	from, done, err := k.builds.source(build.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	own, err := k.host.Reserve(ctx, guest.Plan{ID: "warm-" + shoal.NewExecutionID()[:18],
		Resources: build.Resources, Claimable: true,
		Background: true, // nobody waits for it yet
	}, from)
	if err != nil {
		return nil, err
	}
	w := &warmGuest{Guest: own, build: build, restored: from.Checkpoint != ""}
	if err := k.readyWarm(ctx, w, from); err != nil {
		return nil, errors.Join(err, own.Stop(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (k *keeper) readyWarm(ctx context.Context, w *warmGuest, from guest.Source) error {
	if err := w.Start(ctx, from); err != nil {
		return err
	}
	if from.Verify != nil {
		if err := from.Verify(); err != nil {
			return err
		}
	}
	if err := k.awaitDaemon(ctx, w); err != nil {
		return err
	}
	if from.Start.Ready != "" {
		k.touch(ctx, w, from.Start)
	}
	if err := w.Foreground(); err != nil {
		return err
	}
	if err := w.Freeze(ctx); err != nil {
		return err
	}
	return w.SetEgress(ctx, k.openEgress)
}

func (k *keeper) awaitDaemon(ctx context.Context, w *warmGuest) error {
	if w.restored {
		return w.Await(ctx)
	}
	// Not where its node is: nobody has a use for its log yet.
	shellErr, err := w.WarmUp(ctx,
		envdapi.Init{DefaultUser: w.build.DefaultUser, DefaultWorkdir: w.build.DefaultWorkdir})
	if shellErr != nil {
		k.log.Debug("a guest started ahead ran no shell", "build", w.build.ID, "error", shellErr)
	}
	return err
}

// touch runs a template's ready command in a restored guest: what the template runs
// then has its memory in place when the first client comes.
func (k *keeper) touch(ctx context.Context, w *warmGuest, start shoal.StartBlock) {
	ctx, cancel := context.WithTimeout(ctx, touchLimit)
	defer cancel()
	err := w.Client("").Run(ctx, client.Command{User: start.Context.User, Args: client.Shell(start.Ready),
		Env: start.Context.Env, Dir: start.Context.Workdir}, nil, func(bool, []byte) {})
	if err != nil { // such as one that only sleeps
		k.log.Debug("a template started ahead is not ready again", "error", err)
	}
}

// touchLimit is what a ready command may take in a guest where it has succeeded before.
const touchLimit = time.Second
