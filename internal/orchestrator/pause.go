package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Pause keeps a running sandbox on disk and gives back what it uses. Pauses of
// the same sandbox join. When it fails, the sandbox runs on.
//
// A sandbox whose daemon is silent is paused with its memory, unless the daemon is required,
// and its snapshot is marked (clients-2.63.md §3.2).
func (o *Orchestrator) Pause(
	ctx context.Context, sandboxID string, opts shoal.PauseOptions,
) (shoal.Sandbox, error) {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	wish := pauseWish{memory: opts.Memory, silentToo: opts.Memory && !opts.RequireDaemon}
	err = o.pause(ctx, sb, wish, func(state shoal.State) error {
		switch state {
		case shoal.StateRunning:
			return nil
		case shoal.StatePaused:
			return shoal.ErrSandboxPaused.New("Error pausing sandbox - sandbox '%s' is already paused", sb.id)
		case shoal.StateCreating:
			return shoal.NotFound(sb.id)
		default:
			return shoal.ErrSandboxState.New("Sandbox '%s' cannot be paused while in '%s' state", sb.id, state)
		}
	})
	if err != nil {
		return shoal.Sandbox{}, err
	}
	return sb.viewNow(), nil
}

// pauseWish is what a pause keeps, and whether a sandbox with a silent daemon is paused too.
type pauseWish struct{ memory, silentToo bool }

func (o *Orchestrator) pause(
	ctx context.Context, sb *sandbox, wish pauseWish, allowed func(shoal.State) error,
) error {
	t, begun, err := sb.begin(ctx, shoal.StatePausing, allowed)
	if err != nil {
		return err
	}
	if !begun {
		return t.wait(ctx)
	}
	// Once begun it does not depend on the caller's patience.
	_, err = outlast(ctx, o.tasks, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, o.carryOut(ctx, sb, t, wish)
	})
	return err
}

// carryOut is the pause whose transition has begun.
func (o *Orchestrator) carryOut(ctx context.Context, sb *sandbox, t *transition, wish pauseWish) (err error) {
	ctx, end := o.meters.measure(ctx, opPause, sb.id)
	defer func() { end(err) }()
	ctx, phases := telemetry.WithPhases(ctx)
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx), "memory", wish.memory)
	before := sb.viewNow()
	sb.mu.Lock()
	own := sb.guest
	sb.mu.Unlock()
	silent := own != nil && isSilent(ctx, own, o.cfg.EnvdTimeout/2)
	if silent && !wish.silentToo {
		err := shoal.ErrDaemonSilent.New("Error pausing sandbox - the daemon of sandbox '%s' does not answer", sb.id)
		sb.end(t, shoal.StateRunning, err)
		o.nudge()
		return err
	}
	if err = o.pauses.suspend(ctx, sb, wish.memory, silent); err != nil {
		if own != nil {
			err = errors.Join(err, own.Thaw(ctx))
		}
		gone := endedMeanwhile(own) // before undo, which makes the sandbox look as if it ran
		err = errors.Join(err, o.pauses.undo(sb, before))
		if gone {
			log.Warn("the sandbox ended while it was paused", "error", err)
			err = shoal.NotFound(sb.id)
		} else {
			err = shoal.ErrPauseFailed.Wrap(err, "Error pausing sandbox")
		}
		sb.end(t, shoal.StateRunning, err)
		o.nudge()
		if gone {
			return err
		}
		o.journal.note(sb, shoal.LogError, "Sandbox could not be paused and goes on", nil)
		log.Error("pause failed, the sandbox goes on", "error", err, "phases_ms", phases)
		return err
	}
	o.pauses.rest(ctx, sb)
	sb.end(t, shoal.StatePaused, nil)
	o.nudge()
	o.journal.note(sb, shoal.LogInfo, "Sandbox paused", map[string]any{"memory": wish.memory})
	log.Info("sandbox paused", "silent", silent, "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return nil
}

// isSilent asks the daemon of a running guest for a sign of life. A busy one answers within milliseconds. A guest that
// has ended is not silent.
func isSilent(ctx context.Context, own *guest.Guest, patience time.Duration) bool {
	defer telemetry.Begin(ctx, "daemon")()
	// One that yields may have had no processor to answer with. If this fails, it is slower.
	_ = own.Compete()
	return shoal.ErrEnvdTimeout.Matches(own.Answers(ctx, patience)) && !own.Ended()
}
