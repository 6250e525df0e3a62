package orchestrator

import (
	"context"
	"errors"

	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// watch ends the sandbox when its guest ends by itself: out of memory, or
// because its first process was killed.
func (o *Orchestrator) watch(sb *sandbox, own *guest.Guest) {
	o.tasks.Go(func() {
		select {
		case <-own.Done():
		case <-o.tasks.stopped:
			return
		}
		o.crashed(sb, own)
	})
}

// errOtherGuest means that a guest's end was expected.
var errOtherGuest = errors.New("the sandbox has another guest, or none")

// crashed ends a sandbox whose guest ended by itself. One that rested is paused
// as before.
func (o *Orchestrator) crashed(sb *sandbox, own *guest.Guest) {
	if sb.viewNow().State == shoal.StateKilling {
		return // that is why
	}
	console, ctx := own.Console(), context.Background()
	err := o.kill(ctx, sb, shoal.KillCrashed, func(state shoal.State) error { // called with sb.mu held
		if sb.guest != own || state == shoal.StatePaused {
			return errOtherGuest
		}
		return nil
	})
	if errors.Is(err, errOtherGuest) {
		o.pauses.cool(ctx, sb)
		return
	}
	o.journal.note(sb, shoal.LogError,
		"The sandbox ended by itself: it ran out of memory, or its first process was killed", nil)
	o.log.Warn("a guest ended by itself", "sandbox", sb.id, "console", console, "error", err)
}
