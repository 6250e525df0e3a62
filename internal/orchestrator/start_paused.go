package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/telemetry"
)

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
		err = g.snapshots.KeepDisk(ctx, own, saved.DiskName())
	}
	if err := errors.Join(err, g.stop(ctx, sb)); err != nil {
		return guest.Source{}, fmt.Errorf("read the disk out of the snapshot: %w", err)
	}
	return g.snapshots.DiskSource(saved)
}
