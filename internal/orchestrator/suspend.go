package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// pauses keeps sandboxes' guests, and lets them rest. Its methods are called by whoever
// runs a transition of the sandbox, except where rest.go says otherwise.
type pauses struct {
	cfg       *Config
	log       *slog.Logger
	table     *table
	records   *records
	snapshots *snapshot.Store
	guests    *guests
	tasks     *tasks
	// sealing is the snapshots of an earlier process on their way to the disk.
	sealing sync.WaitGroup
}

// suspend freezes the guest, and returns when everything that it takes to bring
// it back is written, so that it outlives every process. The disk has it before the
// guest ends (rest.go). silent means that the guest's daemon does not answer.
func (p *pauses) suspend(ctx context.Context, sb *sandbox, memory, silent bool) error {
	sb.mu.Lock()
	own := sb.guest
	sb.saved = &snapshot.Saved{Artifact: snapshot.PauseName(sb.id), Memory: memory, Silent: silent}
	name := sb.saved.Artifact
	sb.mu.Unlock()
	if own == nil {
		return shoal.NotFound(sb.id)
	}
	if err := p.records.save(sb); err != nil {
		return err
	}
	if err := own.Freeze(ctx); err != nil {
		return err
	}
	if memory {
		draft, err := p.snapshots.Checkpoint(ctx, own, name, false)
		if err != nil {
			return err
		}
		if err := p.snapshots.CommitLoose(ctx, draft, snapshot.Of(own)); err != nil {
			return err
		}
	} else if err := p.snapshots.KeepDisk(ctx, own, name); err != nil {
		return err
	}
	sb.mu.Lock()
	sb.saved.OnDisk = !memory
	sb.view.EndAt = time.Now().UTC() // of a paused sandbox: when it was paused
	sb.mu.Unlock()
	return p.records.settle(sb, shoal.StatePaused)
}

// undo lets a sandbox whose guest goes on be as if nothing had been.
func (p *pauses) undo(sb *sandbox, before shoal.Sandbox) error {
	sb.mu.Lock()
	left := sb.saved
	sb.saved = nil
	sb.view.EndAt = before.EndAt
	if now := time.Now().UTC(); !sb.view.EndAt.After(now) {
		// It was to be paused at its deadline: that is tried again later.
		sb.view.EndAt = now.Add(retryPause)
	}
	sb.mu.Unlock()
	err := p.records.settle(sb, shoal.StateRunning)
	if left != nil {
		err = errors.Join(err, p.snapshots.Drop(*left))
	}
	return err
}

// retryPause is the delay before an automatic pause that failed is tried again.
const retryPause = 30 * time.Second
