package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/envdapi/client"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Resume brings a paused sandbox back. Resumes of the same sandbox join, and
// return when it can be used. When it fails, the sandbox is paused as before.
func (o *Orchestrator) Resume(ctx context.Context, sandboxID string, opts shoal.ResumeOptions) (shoal.Sandbox, error) {
	sb, err := o.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	t, own, err := sb.begin(ctx, shoal.StateResuming, func(state shoal.State) error {
		switch state {
		case shoal.StatePaused:
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
	if !own {
		if opts.ColdBoot && sb.hasMemory() {
			return shoal.Sandbox{}, shoal.ErrStartInFlight.New("Sandbox %q is being started already, with its memory", sb.id)
		}
		if err := t.wait(ctx); err != nil {
			return shoal.Sandbox{}, err
		}
		return o.SetDeadline(ctx, sandboxID, shoal.DeadlineChange{Timeout: opts.Timeout, ExtendOnly: true})
	}
	// Once begun it does not depend on the caller's patience: others may wait too.
	ctx, phases := telemetry.WithPhases(context.WithoutCancel(ctx))
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx))
	if err := o.bringBack(ctx, sb, opts); err != nil {
		o.createFail.Add(1)
		sb.end(t, shoal.StatePaused, err)
		log.Error("resume failed, the sandbox stays paused", "error", err, "phases_ms", phases)
		return shoal.Sandbox{}, err
	}
	sb.end(t, shoal.StateRunning, nil)
	o.nudge()
	view := sb.snapshotView()
	o.note(sb, shoal.LogInfo, "Sandbox resumed", map[string]any{"coldBoot": view.ColdBoot})
	log.Info("sandbox resumed", "cold_boot", view.ColdBoot, "total_ms", telemetry.Milliseconds(phases.Total()), "phases_ms", phases)
	return view, nil
}

// hasMemory tells whether what a sandbox comes back from has its memory.
func (s *sandbox) hasMemory() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved != nil && s.saved.Memory
}

// bringBack takes a paused sandbox to a guest that answers; the caller runs the
// transition. What it comes back from is removed only when the record says that
// the sandbox runs.
func (o *Orchestrator) bringBack(ctx context.Context, sb *sandbox, opts shoal.ResumeOptions) error {
	o.starting.Add(1)
	defer o.starting.Add(-1)
	before := sb.snapshotView()
	err := o.revive(ctx, sb, opts)
	if err == nil {
		sb.mu.Lock()
		from := sb.saved
		sb.saved, sb.restUntil = nil, time.Time{}
		sb.mu.Unlock()
		if err = o.settle(sb, shoal.StateRunning); err == nil {
			o.discard(sb, from)
			return nil
		}
		sb.mu.Lock()
		sb.saved = from
		sb.mu.Unlock()
	}
	left := o.stopGuest(ctx, sb)
	sb.mu.Lock()
	sb.view.StartedAt, sb.view.EndAt, sb.view.ExecutionID = before.StartedAt, before.EndAt, before.ExecutionID
	sb.view.ColdBoot = before.ColdBoot
	sb.mu.Unlock()
	return errors.Join(err, left, o.settle(sb, shoal.StatePaused))
}

// revive thaws a resting guest, or starts one from what was saved.
func (o *Orchestrator) revive(ctx context.Context, sb *sandbox, opts shoal.ResumeOptions) error {
	l := lease{timeout: opts.Timeout}
	sb.mu.Lock()
	from, resting := *sb.saved, sb.guest != nil
	sb.view.ColdBoot = false
	sb.mu.Unlock()
	if err := o.admit(ctx, sb); err != nil {
		return err
	}
	cold := opts.ColdBoot && from.Memory
	if resting && !cold {
		err := o.thaw(ctx, sb, l)
		if err == nil {
			return nil
		}
		o.log.Warn("a resting guest did not come back; its snapshot is used", "sandbox", sb.id, "error", err)
	}
	if resting {
		if err := o.stopGuest(ctx, sb); err != nil {
			return err
		}
	}
	if !from.Memory || cold {
		return o.bootDisk(ctx, sb, from, l)
	}
	err := o.restore(ctx, sb, from, l)
	if err != nil && isPassing(err) {
		// What is lost with the memory is worth a second try.
		o.log.Warn("memory could not be restored; it is tried again", "sandbox", sb.id, "error", err)
		if err := o.stopGuest(ctx, sb); err != nil {
			return err
		}
		err = o.restore(ctx, sb, from, l)
	}
	if err == nil || shoal.ErrNetworkExhausted.Matches(err) {
		return err
	}
	if _, _, noDisk := o.diskOf(from); noDisk != nil {
		return err
	}
	o.log.Warn("memory could not be restored; the sandbox boots from its disk", "sandbox", sb.id, "error", err)
	if err := o.stopGuest(ctx, sb); err != nil {
		return err
	}
	return o.bootDisk(ctx, sb, from, l)
}

// isPassing tells a failure that may be of the moment from one of the snapshot.
func isPassing(err error) bool {
	return !shoal.ErrSnapshotDamaged.Matches(err) && !shoal.ErrSnapshotMissing.Matches(err) &&
		!shoal.ErrNetworkExhausted.Matches(err) && !errors.Is(err, runtime.ErrKernelMissing)
}

func (o *Orchestrator) thaw(ctx context.Context, sb *sandbox, l lease) error {
	sb.mu.Lock()
	guest := sb.guest
	sb.view.HostIP = sb.slot.HostIP().String()
	sb.view.ExecutionID = shoal.NewExecutionID()
	sb.mu.Unlock()
	if err := o.saveView(sb); err != nil {
		return err
	}
	end := telemetry.Begin(ctx, "thaw")
	err := guest.Thaw(ctx)
	end()
	if err != nil {
		return err
	}
	return o.initialise(ctx, sb, l, client.New(sb.snapshotView().HostIP, ""))
}

func (o *Orchestrator) restore(ctx context.Context, sb *sandbox, from saved, l lease) error {
	start, err := o.openCapture(from.Artifact)
	if err != nil {
		return err
	}
	return o.boot(ctx, sb, start, l)
}

// admit lets one more guest live, if the machine has room for it.
func (o *Orchestrator) admit(ctx context.Context, sb *sandbox) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.draining {
		return shoal.ErrUnavailable.New("The machine is shutting down")
	}
	if alive := o.aliveLocked(); alive > o.cfg.MaxSandboxes { // the sandbox itself counts
		return shoal.ErrCapacity.New("the machine runs %d sandboxes, its maximum", o.cfg.MaxSandboxes)
	}
	return nil
}

// discard removes a snapshot that nothing needs any more, beside what the caller
// does. What is left after a crash is removed at the next start.
func (o *Orchestrator) discard(sb *sandbox, from *saved) {
	o.background.Add(1)
	go func() {
		defer o.background.Done()
		err := o.unkeep(sb)
		if err == nil {
			err = o.removeSaved(*from)
		}
		if err != nil {
			o.log.Warn("a used snapshot is left", "artifact", from.Artifact, "error", err)
		}
	}()
}
