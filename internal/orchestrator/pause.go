package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// saved is what a paused sandbox comes back from.
type saved struct {
	// Artifact is its name in the artifact store.
	Artifact string `json:"artifact"`
	// Memory is false if only the disk was kept.
	Memory bool `json:"memory"`
	// onDisk means that the artifact outlives the machine's power, so that the record
	// that names it should too.
	onDisk bool
}

// Pause keeps a running sandbox on disk and gives back what it uses. Pauses of
// the same sandbox join. When it fails, the sandbox runs on.
func (o *Orchestrator) Pause(ctx context.Context, sandboxID string, memory bool) error {
	sb, err := o.find(sandboxID)
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

func (o *Orchestrator) pause(ctx context.Context, sb *sandbox, memory bool, allowed func(shoal.State) error) error {
	t, own, err := sb.begin(ctx, shoal.StatePausing, allowed)
	if err != nil {
		return err
	}
	if !own {
		return t.wait(ctx)
	}
	// Once begun it does not depend on the caller's patience.
	ctx, phases := telemetry.WithPhases(context.WithoutCancel(ctx))
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx), "memory", memory)
	before := sb.snapshotView()
	err = o.suspend(ctx, sb, memory)
	if err != nil {
		err = shoal.ErrPauseFailed.Wrap(errors.Join(err, o.undoPause(ctx, sb, before)), "Error pausing sandbox")
		sb.end(t, shoal.StateRunning, err)
		o.nudge()
		o.note(sb, shoal.LogError, "Sandbox could not be paused and goes on", nil)
		log.Error("pause failed, the sandbox goes on", "error", err, "phases_ms", phases)
		return err
	}
	o.rest(ctx, sb)
	sb.end(t, shoal.StatePaused, nil)
	o.nudge()
	o.note(sb, shoal.LogInfo, "Sandbox paused", map[string]any{"memory": memory})
	log.Info("sandbox paused", "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return nil
}

// suspend freezes the guest, and returns when everything that it takes to bring
// it back is written, so that it outlives every process. The disk has it before the
// guest ends (rest.go).
func (o *Orchestrator) suspend(ctx context.Context, sb *sandbox, memory bool) error {
	sb.mu.Lock()
	guest := sb.guest
	sb.saved = &saved{Artifact: pauseArtifact(sb.id), Memory: memory}
	name := sb.saved.Artifact
	sb.mu.Unlock()
	if guest == nil {
		return shoal.NotFound(sb.id)
	}
	if err := o.saveView(sb); err != nil {
		return err
	}
	end := telemetry.Begin(ctx, "freeze")
	err := guest.Freeze(ctx)
	end()
	if err != nil {
		return err
	}
	if memory {
		draft, err := o.checkpoint(ctx, guest, name, false)
		if err != nil {
			return err
		}
		if err := o.commitLoose(ctx, draft, o.captureOf(sb)); err != nil {
			return err
		}
	} else if err := o.captureDisk(ctx, sb, guest, name); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.saved.onDisk = !memory
	sb.view.EndAt = time.Now().UTC() // of a paused sandbox: when it was paused
	sb.mu.Unlock()
	return o.settle(sb, shoal.StatePaused)
}

// undoPause lets the guest go on as if nothing had been.
func (o *Orchestrator) undoPause(ctx context.Context, sb *sandbox, before shoal.Sandbox) error {
	sb.mu.Lock()
	guest, left := sb.guest, sb.saved
	sb.saved = nil
	sb.view.EndAt = before.EndAt
	if now := time.Now().UTC(); !sb.view.EndAt.After(now) {
		// It was to be paused at its deadline: that is tried again later.
		sb.view.EndAt = now.Add(retryPause)
	}
	sb.mu.Unlock()
	var errs error
	if guest != nil {
		errs = guest.Thaw(ctx)
	}
	errs = errors.Join(errs, o.settle(sb, shoal.StateRunning))
	if left != nil {
		errs = errors.Join(errs, o.removeSaved(*left))
	}
	return errs
}

// retryPause is how long a sandbox lives on whose pause at the deadline failed.
const retryPause = 30 * time.Second
