package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Kill ends a sandbox and removes everything of it. Kills of the same sandbox
// join.
func (o *Orchestrator) Kill(ctx context.Context, sandboxID string, reason shoal.KillReason) error {
	sb, err := o.find(sandboxID)
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

func (o *Orchestrator) kill(ctx context.Context, sb *sandbox, reason shoal.KillReason, allowed func(shoal.State) error) error {
	t, own, err := sb.begin(ctx, shoal.StateKilling, allowed)
	if err != nil {
		return err
	}
	if !own {
		return t.wait(ctx)
	}
	// Once begun the end does not depend on the caller's patience.
	ctx = context.WithoutCancel(ctx)
	log := o.log.With("sandbox", sb.id, "request", shoal.RequestID(ctx), "reason", reason)
	// Whoever recovers must not take over a guest that is about to end.
	if err := o.saveView(sb); err != nil {
		log.Warn("the record does not say that a sandbox is being killed", "error", err)
	}
	err = o.dismantle(ctx, sb)
	sb.end(t, shoal.StateKilling, err)
	o.nudge()
	if err != nil {
		log.Error("sandbox killed, but something of it is left", "error", err)
		return shoal.ErrInternal.Wrap(err, "Error killing sandbox")
	}
	o.note(sb, shoal.LogInfo, "Sandbox ended", map[string]any{"reason": string(reason)})
	log.Info("sandbox killed")
	return nil
}

// dismantle removes the guest, its slot, its files, its record, its snapshot and
// its entry, in this order: what has a record is found again after a crash.
func (o *Orchestrator) dismantle(ctx context.Context, sb *sandbox) error {
	err := o.stopGuest(ctx, sb)
	err = errors.Join(err, o.forget(sb))
	sb.mu.Lock()
	left := sb.saved
	sb.mu.Unlock()
	if left != nil {
		err = errors.Join(err, o.removeSaved(*left))
	}
	o.mu.Lock()
	delete(o.sandboxes, sb.id)
	o.mu.Unlock()
	return err
}

// stopGuest ends the current boot and gives back what it used.
func (o *Orchestrator) stopGuest(ctx context.Context, sb *sandbox) error {
	sb.mu.Lock()
	guest, slot, guestID, execution := sb.guest, sb.slot, sb.guestID, sb.view.ExecutionID
	sb.guest, sb.slot = nil, nil
	sb.view.HostIP = ""
	sb.mu.Unlock()
	var errs error
	if guest != nil {
		if err := guest.Kill(ctx); err != nil {
			errs = fmt.Errorf("end the guest: %w", err)
		}
	}
	if o.cfg.Ended != nil && execution != "" {
		o.cfg.Ended(execution)
	}
	if slot != nil {
		o.slots.Release(slot)
	}
	if guestID != "" {
		errs = errors.Join(errs, os.RemoveAll(o.guestDir(guestID)))
	}
	return errs
}

// watch ends the sandbox when its guest ends by itself: out of memory, or
// because its first process was killed.
func (o *Orchestrator) watch(sb *sandbox, guest runtime.Guest) {
	o.background.Add(1)
	go func() {
		defer o.background.Done()
		select {
		case <-guest.Done():
		case <-o.stopped:
			return
		}
		o.crashed(sb, guest)
	}()
}

// errOtherGuest means that a guest's end was expected.
var errOtherGuest = errors.New("the sandbox has another guest, or none")

// crashed ends a sandbox whose guest ended by itself. One that rested is paused
// as before.
func (o *Orchestrator) crashed(sb *sandbox, guest runtime.Guest) {
	if sb.snapshotView().State == shoal.StateKilling {
		return // that is why
	}
	console, ctx := guest.Console(), context.Background()
	err := o.kill(ctx, sb, shoal.KillCrashed, func(state shoal.State) error { // called with sb.mu held
		if sb.guest != guest || state == shoal.StatePaused {
			return errOtherGuest
		}
		return nil
	})
	if errors.Is(err, errOtherGuest) {
		o.cool(ctx, sb)
		return
	}
	o.note(sb, shoal.LogError, "The sandbox ended by itself: it ran out of memory, or its first process was killed", nil)
	o.log.Warn("a guest ended by itself", "sandbox", sb.id, "console", console, "error", err)
}

// Get returns one sandbox, also while it is being killed: callers tell that from one
// that never was.
func (o *Orchestrator) Get(ctx context.Context, sandboxID string) (shoal.Sandbox, error) {
	sb, err := o.find(sandboxID)
	if err != nil {
		return shoal.Sandbox{}, err
	}
	view := sb.snapshotView()
	if view.State == shoal.StateCreating {
		return shoal.Sandbox{}, shoal.NotFound(sandboxID)
	}
	return view, nil
}

// List returns the sandboxes that clients may see, in no order.
func (o *Orchestrator) List(ctx context.Context) ([]shoal.Sandbox, error) {
	var list []shoal.Sandbox
	for _, sb := range o.all() {
		if view := sb.snapshotView(); isListed(view) {
			list = append(list, view)
		}
	}
	return list, nil
}

// isListed hides a sandbox before it was created and once its end has begun.
func isListed(view shoal.Sandbox) bool {
	return view.State != shoal.StateCreating && view.State != shoal.StateKilling
}

// KillAll ends every sandbox that runs, for `shoal down` and --ephemeral. The
// paused ones are kept, and are on the disk when it returns.
func (o *Orchestrator) KillAll(ctx context.Context, reason shoal.KillReason) error {
	var errs error
	for _, sb := range o.all() {
		if sb.snapshotView().State == shoal.StatePaused {
			o.cool(ctx, sb)
			continue
		}
		if err := o.Kill(ctx, sb.id, reason); err != nil && !shoal.ErrSandboxNotFound.Matches(err) {
			errs = errors.Join(errs, err)
		}
	}
	o.sealing.Wait()
	return errs
}
