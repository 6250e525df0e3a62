package orchestrator

import (
	"context"
	"errors"

	"shoal/internal/shoal"
)

// Kill ends a sandbox and removes everything of it. Kills of the same sandbox
// join.
func (o *Orchestrator) Kill(ctx context.Context, sandboxID string, reason shoal.KillReason) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	return o.kill(ctx, sb, reason, func(s shoal.State) error {
		if s == shoal.StateKilling {
			return shoal.NotFound(sandboxID)
		}
		return nil
	})
}

func (o *Orchestrator) kill(
	ctx context.Context, sb *sandbox, reason shoal.KillReason, allowed func(shoal.State) error,
) (err error) {
	t, begun, err := sb.begin(ctx, shoal.StateKilling, allowed)
	if err != nil {
		return err
	}
	if !begun {
		return t.wait(ctx)
	}
	ctx, end := o.meters.measure(ctx, opKill, sb.id)
	defer func() { end(err) }()
	// Once begun the end does not depend on the caller's patience.
	ctx = context.WithoutCancel(ctx)
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx), "reason", reason)
	// Whoever recovers must not take over a guest that is about to end.
	told, err := o.records.enter(sb, killed(reason), true)
	if err != nil {
		log.Warn("the record does not say that a sandbox is being killed", "error", err)
	}
	if err := (adopter{o}).endStranded(ctx, sb); err != nil {
		if told {
			o.records.withdraw(sb)
		}
		sb.end(t, shoal.StateRunning, err)
		log.Error("a sandbox that could not be taken over cannot be killed now", "error", err)
		return shoal.ErrSandboxUnreachable.Wrap(err, "Sandbox %q cannot be killed now", sb.id)
	}
	err = o.dismantle(ctx, sb)
	sb.end(t, shoal.StateKilling, err)
	o.meters.kills.WithLabelValues(string(reason)).Inc()
	o.nudge()
	if err != nil {
		log.Error("sandbox killed, but something of it is left", "error", err)
		return shoal.ErrInternal.Wrap(err, "Error killing sandbox")
	}
	o.journal.note(sb, shoal.LogInfo, "Sandbox ended", map[string]any{"reason": string(reason)})
	log.Info("sandbox killed")
	return nil
}

// dismantle removes the guest, its slot, its files, its record, its snapshot and
// its entry, in this order: what has a record is found again after a crash. The record
// goes when the disk has the sandbox's events.
func (o *Orchestrator) dismantle(ctx context.Context, sb *sandbox) error {
	forget := o.outbox.bury(ctx, sb)
	err := o.guests.stop(ctx, sb)
	err = errors.Join(err, forget())
	if left, ok := sb.savedNow(); ok {
		err = errors.Join(err, o.snapshots.Drop(left))
	}
	o.table.remove(sb.id)
	return err
}

// KillAll ends every sandbox that runs, for `shoal down` and --ephemeral. The
// paused ones are kept, and are on the disk when it returns.
func (o *Orchestrator) KillAll(ctx context.Context, reason shoal.KillReason) error {
	var errs error
	for _, sb := range o.table.all() {
		if sb.viewNow().State == shoal.StatePaused {
			o.pauses.cool(ctx, sb)
			continue
		}
		if err := o.Kill(ctx, sb.id, reason); err != nil && !shoal.ErrSandboxNotFound.Matches(err) {
			errs = errors.Join(errs, err)
		}
	}
	o.pauses.sealing.Wait()
	return errs
}
