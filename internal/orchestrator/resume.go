package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/telemetry"
)

// Resume brings a paused sandbox back. Resumes of the same sandbox join, and
// return when it can be used. When it fails, the sandbox is paused as before.
func (o *Orchestrator) Resume(
	ctx context.Context, sandboxID string, opts shoal.ResumeOptions,
) (shoal.Sandbox, error) {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	t, begun, err := sb.begin(ctx, shoal.StateResuming, func(state shoal.State) error { // sb.mu is held
		switch state {
		case shoal.StatePaused:
			if from := sb.saved; from != nil && from.Memory && from.Silent && !opts.ColdBoot {
				return shoal.ErrSnapshotSilent.New("Sandbox %q was paused while its daemon did not answer, and can only be rebooted", sb.id)
			}
			return nil
		case shoal.StateKilling:
			return shoal.ErrSandboxState.New("Sandbox %q is being killed", sb.id)
		case shoal.StateCreating:
			return shoal.NotFound(sb.id)
		default:
			return shoal.ErrSandboxRunning.New("Sandbox %s is already running", sb.id)
		}
	})
	if err != nil {
		return shoal.Sandbox{}, err
	}
	if !begun {
		if opts.ColdBoot && sb.hasMemory() {
			return shoal.Sandbox{}, shoal.ErrStartInFlight.New(
				"Sandbox %q is being started already, with its memory", sb.id)
		}
		if err := t.wait(ctx); err != nil {
			return shoal.Sandbox{}, err
		}
		return o.SetDeadline(ctx, sandboxID, shoal.DeadlineChange{Timeout: opts.Timeout, ExtendOnly: true})
	}
	// Once begun it does not depend on the caller's patience: others may wait too.
	o.tasks.Go(func() { o.resume(context.WithoutCancel(ctx), sb, t, opts) })
	if err := t.wait(ctx); err != nil {
		return shoal.Sandbox{}, err
	}
	return sb.viewNow(), nil
}

// resume runs the transition of a resume to its end.
func (o *Orchestrator) resume(ctx context.Context, sb *sandbox, t *transition, opts shoal.ResumeOptions) {
	ctx, phases := telemetry.WithPhases(ctx)
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx))
	ctx, end := o.meters.measure(ctx, opResume, sb.id)
	err := o.bringBack(ctx, sb, opts)
	end(err)
	if err != nil {
		o.load.failed.Add(1)
		sb.end(t, shoal.StatePaused, err)
		log.Error("resume failed, the sandbox stays paused", "error", err, "phases_ms", phases)
		return
	}
	view := sb.viewNow()
	sb.end(t, shoal.StateRunning, nil)
	o.nudge()
	o.journal.note(sb, shoal.LogInfo, "Sandbox resumed", map[string]any{"coldBoot": view.ColdBoot})
	log.Info("sandbox resumed", "cold_boot", view.ColdBoot,
		"total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
}

// hasMemory tells whether what a sandbox comes back from has its memory.
func (s *sandbox) hasMemory() bool {
	saved, _ := s.savedNow()
	return saved.Memory
}

// bringBack takes a paused sandbox to a guest that answers; the caller runs the
// transition. What it comes back from is removed only when the record says that
// the sandbox runs.
func (o *Orchestrator) bringBack(ctx context.Context, sb *sandbox, opts shoal.ResumeOptions) error {
	defer o.load.begin()()
	before := sb.viewNow()
	err := o.table.admit(sb)
	if err == nil {
		err = o.guests.startPaused(ctx, sb, opts)
	}
	if err == nil {
		sb.mu.Lock()
		from := sb.saved
		sb.saved, sb.restUntil, sb.view.KeptBytes = nil, time.Time{}, 0
		sb.mu.Unlock()
		if err = o.records.saveEvent(sb, to(shoal.StateRunning, shoal.EventResumed)); err == nil {
			o.discard(sb, from)
			return nil
		}
		sb.mu.Lock()
		sb.saved, sb.view.KeptBytes = from, before.KeptBytes
		sb.mu.Unlock()
	}
	left := o.guests.stop(ctx, sb)
	sb.mu.Lock()
	sb.view.StartedAt, sb.view.EndAt, sb.view.ExecutionID = before.StartedAt, before.EndAt, before.ExecutionID
	sb.view.ColdBoot = before.ColdBoot
	sb.mu.Unlock()
	return errors.Join(err, left, o.records.saveAs(sb, shoal.StatePaused))
}

// discard removes a snapshot that nothing needs any more, beside what the caller
// does. What is left after a crash is removed at the next start.
func (o *Orchestrator) discard(sb *sandbox, from *snapshot.Saved) {
	o.tasks.Go(func() {
		err := o.records.unkeep(sb)
		if err == nil {
			err = o.snapshots.Drop(*from)
		}
		if err != nil {
			o.log.Warn("a used snapshot is left", "artifact", from.Artifact, "error", err)
		}
	})
}

// startPaused takes a paused sandbox to a guest that answers: it thaws the one that rests,
// or starts one from what was saved, with memory if that can be had.
func (g *guests) startPaused(ctx context.Context, sb *sandbox, opts shoal.ResumeOptions) error {
	l := lease{timeout: opts.Timeout}
	sb.mu.Lock()
	from, resting := *sb.saved, sb.guest != nil
	sb.view.ColdBoot = false
	sb.mu.Unlock()
	cold := opts.ColdBoot && from.Memory
	if resting && !cold {
		err := g.thaw(ctx, sb, l)
		if err == nil {
			return nil
		}
		g.log.Warn("a resting guest did not come back; its snapshot is used", "sandbox", sb.id, "error", err)
	}
	if resting {
		if err := g.stop(ctx, sb); err != nil {
			return err
		}
	}
	if !from.Memory || cold {
		return g.startDisk(ctx, sb, from, l)
	}
	err := g.restore(ctx, sb, from, l)
	if err != nil && isPassing(err) {
		// What is lost with the memory is worth a second try.
		g.log.Warn("memory could not be restored; it is tried again", "sandbox", sb.id, "error", err)
		if err := g.stop(ctx, sb); err != nil {
			return err
		}
		err = g.restore(ctx, sb, from, l)
	}
	if err == nil || shoal.ErrNetworkExhausted.Matches(err) {
		return err
	}
	if _, noDisk := g.snapshots.DiskSource(from); noDisk != nil {
		return err
	}
	g.log.Warn("memory could not be restored; the sandbox boots from its disk", "sandbox", sb.id, "error", err)
	if err := g.stop(ctx, sb); err != nil {
		return err
	}
	return g.startDisk(ctx, sb, from, l)
}

// isPassing tells a failure that may be of the moment from one of the snapshot.
func isPassing(err error) bool {
	return !shoal.ErrSnapshotDamaged.Matches(err) && !shoal.ErrSnapshotMissing.Matches(err) &&
		!shoal.ErrNetworkExhausted.Matches(err) && !errors.Is(err, runtime.ErrUnfit)
}

// thaw lets the resting guest go on.
func (g *guests) thaw(ctx context.Context, sb *sandbox, l lease) error {
	if err := g.enter(sb, sb.guest); err != nil {
		return err
	}
	if err := sb.guest.Thaw(ctx); err != nil {
		return err
	}
	return g.initialize(ctx, sb, l)
}

// restore starts a guest with the memory that was saved.
func (g *guests) restore(ctx context.Context, sb *sandbox, saved snapshot.Saved, l lease) error {
	from, err := g.snapshots.Source(saved.Artifact)
	if err != nil {
		return err
	}
	from.Volumes, _ = g.volumesOf(sb.viewNow().Spec) // what is missing is told when it is mounted
	return g.start(ctx, sb, from, l)
}

// startDisk starts a guest with the disk that was saved.
func (g *guests) startDisk(ctx context.Context, sb *sandbox, saved snapshot.Saved, l lease) error {
	from, err := g.snapshots.DiskSource(saved)
	if err != nil && saved.Memory {
		from, err = g.extractDisk(ctx, sb, saved)
	}
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.ColdBoot = true
	sb.mu.Unlock()
	if l.env == nil {
		l.env = g.cfg.GuestEnv // what the client gave was in memory alone
	}
	return g.start(ctx, sb, from, l)
}

// extractDisk reads the disk out of a checkpoint, by way of a guest that is restored and
// frozen at once.
func (g *guests) extractDisk(ctx context.Context, sb *sandbox, saved snapshot.Saved) (guest.Source, error) {
	defer telemetry.Begin(ctx, "extract_disk")()
	from, err := g.snapshots.Source(saved.Artifact)
	if err != nil {
		return guest.Source{}, err
	}
	own, err := g.reserve(ctx, sb, from)
	if err != nil {
		return guest.Source{}, err
	}
	err = g.run(ctx, sb, own, from)
	if err == nil {
		err = errors.Join(own.Freeze(ctx), from.Verify())
	}
	if err == nil {
		_, err = g.snapshots.KeepDisk(ctx, own, saved.DiskName())
	}
	if err := errors.Join(err, g.stop(ctx, sb)); err != nil {
		return guest.Source{}, fmt.Errorf("read the disk out of the snapshot: %w", err)
	}
	return g.snapshots.DiskSource(saved)
}
