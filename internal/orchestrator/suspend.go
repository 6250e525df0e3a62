package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"shoal/internal/guest"
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
	size, err := p.keep(ctx, own, name, memory)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.saved.OnDisk = !memory
	sb.view.KeptBytes = size
	sb.view.EndAt = time.Now().UTC() // of a paused sandbox: when it was paused
	sb.mu.Unlock()
	return p.records.saveEvent(sb, to(shoal.StatePaused, shoal.EventPaused))
}

// keep writes a frozen guest, with its memory or its disk alone, and returns how many bytes
// that takes.
func (p *pauses) keep(ctx context.Context, own *guest.Guest, name string, memory bool) (int64, error) {
	if !memory {
		return p.snapshots.KeepDisk(ctx, own, name)
	}
	draft, err := p.snapshots.Checkpoint(ctx, own, name, false)
	if err != nil {
		return 0, err
	}
	return p.snapshots.CommitLoose(ctx, draft, snapshot.Of(own))
}

// undo lets a sandbox whose guest goes on be as if nothing had been.
func (p *pauses) undo(sb *sandbox, before shoal.Sandbox) error {
	sb.mu.Lock()
	left := sb.saved
	sb.saved = nil
	sb.view.EndAt, sb.view.KeptBytes = before.EndAt, 0
	if now := time.Now().UTC(); !sb.view.EndAt.After(now) {
		// It was to be paused at its deadline: that is tried again later.
		sb.view.EndAt = now.Add(retryPause)
	}
	sb.mu.Unlock()
	err := p.records.saveAs(sb, shoal.StateRunning)
	if left != nil {
		err = errors.Join(err, p.snapshots.Drop(*left))
	}
	return err
}

// retryPause is the delay before an automatic pause that failed is tried again.
const retryPause = 30 * time.Second
