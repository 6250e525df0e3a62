package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// copier makes what others begin from: snapshots and forks of sandboxes that go on.
type copier struct{ *Orchestrator }

// standStill runs f as a transition of its own, from which a running sandbox runs on, even if
// this process ends meanwhile. It does not wait for another transition, but is refused.
// paused is the answer for a paused sandbox; other refusals say that it "cannot be" participle.
func (o copier) standStill(
	ctx context.Context, sandboxID, participle string, paused *shoal.Error,
	f func(*sandbox, *guest.Guest) error,
) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	t, err := sb.beginAlone(ctx, shoal.StateSnapshotting, func(state shoal.State) error {
		switch state {
		case shoal.StateRunning:
			return nil
		case shoal.StateCreating:
			return shoal.NotFound(sb.id)
		case shoal.StatePaused:
			return paused
		default:
			return shoal.ErrSandboxState.New(
				"Sandbox '%s' cannot be %s while in '%s' state", sb.id, participle, state)
		}
	})
	if err != nil {
		return err
	}
	sb.mu.Lock()
	own := sb.guest
	sb.mu.Unlock()
	if own != nil {
		// An earlier process may have left a checkpoint under way, which this waits for.
		err = own.Thaw(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = shoal.ErrSandboxState.Wrap(err, "Sandbox '%s' cannot be %s while its memory is being written", sb.id, participle)
	}
	if err == nil {
		err = f(sb, own)
	}
	if err != nil && !callersFault(err) && endedMeanwhile(own) {
		err = shoal.NotFound(sb.id)
	}
	// The record may say that the guest stands still. It is written before the transition ends,
	// so that no later one's event goes before this one's.
	if recordErr := o.recordCheckpoint(sb, err == nil); recordErr != nil {
		o.log.Error("the record of a running sandbox cannot be written", "sandbox", sb.id, "error", recordErr)
	}
	sb.end(t, shoal.StateRunning, err)
	o.nudge()
	return err
}

// recordCheckpoint writes that a sandbox runs again, and that it was checkpointed if it was.
func (o copier) recordCheckpoint(sb *sandbox, made bool) error {
	return o.records.saveEvent(sb, func(s *sandbox, at time.Time) (*shoal.Event, error) {
		s.view.State = shoal.StateRunning
		if !made {
			return nil, nil
		}
		return checkpointed(s, at)
	})
}

// endNotice is how long it may take until a guest that has ended is known to have.
const endNotice = time.Second

// callersFault reports whether an error is about the request, not about the machine.
func callersFault(err error) bool {
	var known *shoal.Error
	return errors.As(err, &known) && known.Status < 500
}

// endedMeanwhile reports whether a guest that has failed a call does so because it has
// ended. Then there is nothing that goes on, and how the call failed says nothing to anybody.
func endedMeanwhile(own *guest.Guest) bool {
	if own == nil {
		return true
	}
	select {
	case <-own.Done():
		return true
	case <-time.After(endNotice):
		return false
	}
}

// snapshotFailure keeps what the caller did wrong, and wraps what the machine did.
func snapshotFailure(err error, message string) error {
	if callersFault(err) {
		return shoal.AsError(err)
	}
	return shoal.ErrSnapshotFailed.Wrap(fmt.Errorf("the sandbox goes on: %w", err), "%s", message)
}

// discardIfGone discards a draft whose caller has left, which nobody will use.
func discardIfGone(caller context.Context, draft *artifact.Draft) error {
	if caller.Err() == nil {
		return nil
	}
	return errors.Join(caller.Err(), draft.Discard())
}
