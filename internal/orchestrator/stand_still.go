package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/guest"
	"shoal/internal/shoal"
)

// standStill runs f while a running sandbox is in no other transition. If this process
// ends meanwhile, the sandbox runs on.
func (o *Orchestrator) standStill(
	ctx context.Context, sandboxID, participle string, f func(*sandbox, *guest.Guest) error,
) error {
	sb, err := o.table.find(sandboxID)
	if err != nil {
		return err
	}
	t, err := sb.beginAlone(shoal.StateSnapshotting, func(state shoal.State) error {
		switch {
		case state == shoal.StateRunning:
			return nil
		case state == shoal.StateCreating:
			return shoal.NotFound(sb.id)
		case state == shoal.StatePaused && participle == "snapshotted":
			return shoal.NotRunning(sb.id)
		case state == shoal.StatePaused:
			return shoal.ErrSandboxPaused.New(
				"Sandbox '%s' is paused and cannot be forked; resume it first", sb.id)
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
	err = f(sb, own)
	sb.end(t, shoal.StateRunning, err)
	if recordErr := o.records.save(sb); recordErr != nil { // it may say that the guest stands still
		o.log.Error("the record of a running sandbox cannot be written", "sandbox", sb.id, "error", recordErr)
	}
	o.nudge()
	return err
}

// snapshotFailure keeps what the caller did wrong, and wraps what the machine did.
func snapshotFailure(err error, message string) error {
	var known *shoal.Error
	if errors.As(err, &known) && known.Status < 500 {
		return known
	}
	return shoal.ErrSnapshotFailed.Wrap(fmt.Errorf("the sandbox goes on: %w", err), "%s", message)
}
