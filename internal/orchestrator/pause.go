package orchestrator

import (
	"context"
	"errors"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Pause keeps a running sandbox on disk and gives back what it uses. Pauses of
// the same sandbox join. When it fails, the sandbox runs on.
func (o *Orchestrator) Pause(ctx context.Context, sandboxID string, memory bool) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	return o.pause(ctx, sb, memory, func(state shoal.State) error {
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
}

func (o *Orchestrator) pause(
	ctx context.Context, sb *sandbox, memory bool, allowed func(shoal.State) error,
) error {
	t, begun, err := sb.begin(ctx, shoal.StatePausing, allowed)
	if err != nil {
		return err
	}
	if !begun {
		return t.wait(ctx)
	}
	// Once begun it does not depend on the caller's patience.
	ctx, phases := telemetry.WithPhases(context.WithoutCancel(ctx))
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx), "memory", memory)
	before := sb.viewNow()
	sb.mu.Lock()
	own := sb.guest
	sb.mu.Unlock()
	err = o.pauses.suspend(ctx, sb, memory)
	if err != nil {
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
	o.journal.note(sb, shoal.LogInfo, "Sandbox paused", map[string]any{"memory": memory})
	log.Info("sandbox paused", "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return nil
}
