package orchestrator

import (
	"context"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/telemetry"
)

// forkWorkers bounds how many copies of one sandbox start at once.
const forkWorkers = 4

// Fork starts a copy of a running sandbox for each specification, with its memory
// and disk; the sandbox goes on. The results are in the order of the specifications.
func (o *Orchestrator) Fork(
	ctx context.Context, sandboxID string, specs []shoal.Spec,
) ([]shoal.ForkResult, error) {
	return outlast(ctx, o.tasks, func(goesOn context.Context) ([]shoal.ForkResult, error) {
		return copier{o}.fork(goesOn, ctx, sandboxID, specs)
	})
}

// fork makes no copies if the caller is gone before they start, because nobody would know
// of them.
func (o copier) fork(
	ctx, caller context.Context, sandboxID string, specs []shoal.Spec,
) (results []shoal.ForkResult, err error) {
	ctx, phases := telemetry.WithPhases(ctx)
	ctx, end := o.meters.measure(ctx, opFork, sandboxID)
	defer func() { end(err) }()
	var draft *artifact.Draft
	var c snapshot.Capture
	paused := shoal.ErrSandboxPaused.New(
		"Sandbox '%s' is paused and cannot be forked; resume it first", sandboxID)
	err = o.standStill(ctx, sandboxID, "forked", paused, func(sb *sandbox, own *guest.Guest) (err error) {
		c = snapshot.Of(own)
		draft, err = o.snapshots.Checkpoint(ctx, own, snapshot.ForkName(sb.id), false)
		if err == nil {
			err = discardIfGone(caller, draft)
		}
		return err
	})
	if err != nil {
		return nil, snapshotFailure(err, "Error forking sandbox")
	}
	from := guest.Source{Root: c.Root, Made: c.Maker, Checkpoint: draft.Dir()}
	results = make([]shoal.ForkResult, len(specs))
	var g errgroup.Group
	g.SetLimit(forkWorkers)
	for i, spec := range specs {
		g.Go(func() error {
			from := from
			from.Volumes, _ = o.guests.volumesOf(spec) // what is missing is told when it is mounted
			start := func(ctx context.Context, sb *sandbox) error {
				return o.guests.start(ctx, sb, from, o.guests.firstLease(spec, true))
			}
			results[i].Sandbox, results[i].Err = o.createBy(ctx, spec, start)
			return nil
		})
	}
	_ = g.Wait()
	if err := draft.Discard(); err != nil {
		o.log.Warn("a used snapshot is left", "sandbox", sandboxID, "error", err)
	}
	o.log.Info("sandbox forked", "sandbox", sandboxID, "count", len(specs),
		"request", shoal.RequestID(ctx), "phases_ms", phases)
	return results, nil
}
