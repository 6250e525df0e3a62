package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Recover brings the machine into the state that the records describe: it
// adopts every sandbox whose guest still runs, undoes what was half done, and
// removes every guest, slot and file that belongs to no record. It must finish
// before the orchestrator is used.
func (o *Orchestrator) Recover(ctx context.Context) error {
	for _, dir := range []string{o.liveDir(), o.keptDir(), o.upperDir(), filepath.Join(o.cfg.RunDir, "guests")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a state directory: %w", err)
		}
	}
	records, err := o.readRecords()
	if err != nil {
		return err
	}
	keep := &kept{guests: map[string]bool{}, slots: map[int]bool{}, artifacts: map[string]bool{}}
	for _, r := range records {
		if err := o.recoverOne(ctx, r, keep); err != nil {
			return err
		}
	}
	snapshots, err := o.artifacts.ListAll()
	if err != nil {
		return err
	}
	o.loadBuilds(snapshots)
	o.sealLeft(keep.paused)
	err = errors.Join(
		o.runtime.Reclaim(ctx, func(id string) bool { return keep.guests[id] }),
		o.slots.Reclaim(func(index int) bool { return keep.slots[index] }),
		removeOthers(filepath.Join(o.cfg.RunDir, "guests"), keep.guests),
		o.removeUnused(snapshots, keep.artifacts),
	)
	if err != nil {
		return fmt.Errorf("remove what belongs to no sandbox: %w", err)
	}
	o.log.Info("recovered", "adopted", len(keep.guests), "paused", len(keep.artifacts), "records", len(records))
	return nil
}

// kept is what belongs to the sandboxes that were recovered.
type kept struct {
	guests    map[string]bool
	slots     map[int]bool
	artifacts map[string]bool
	paused    []*sandbox
}

// recoverOne finishes or undoes what an earlier process had begun with a sandbox.
func (o *Orchestrator) recoverOne(ctx context.Context, r record, keep *kept) error {
	id := r.Sandbox.SandboxID
	switch r.Sandbox.State {
	case shoal.StateRunning, shoal.StateSnapshotting, shoal.StatePausing:
		// A pause that was cut off is undone while the guest lives.
		err := o.adopt(ctx, r)
		if err == nil || !isGone(err) {
			keep.guests[r.GuestID], keep.slots[r.SlotIndex] = true, true
			if err != nil {
				// It may live: nothing of it is removed, and the next start tries again.
				o.log.Error("a sandbox cannot be taken over now", "sandbox", id, "error", err)
				if r.Saved != nil {
					keep.artifacts[r.Saved.Artifact] = true
				}
			}
			return nil
		}
		if r.Saved != nil {
			if _, _, saved := o.readCapture(r.Saved.Artifact); saved == nil {
				return o.recoverPaused(r, keep) // its guest ended, but all of it was kept
			}
		}
		o.log.Warn("a sandbox did not survive", "sandbox", id, "error", err)
		return o.removeRecord(id)
	case shoal.StatePaused, shoal.StateResuming:
		// A resume that was cut off is undone: its caller got no answer.
		if r.Saved != nil {
			return o.recoverPaused(r, keep)
		}
	}
	// A create or a kill that was cut off: its caller got no answer.
	return o.removeRecord(id)
}

// isGone tells whether there is nothing any more that could be adopted.
func isGone(err error) bool {
	return errors.Is(err, runtime.ErrGone) || errors.Is(err, os.ErrNotExist)
}

func (o *Orchestrator) recoverPaused(r record, keep *kept) error {
	sb := &sandbox{id: r.Sandbox.SandboxID, createdAt: r.CreatedAt, view: r.Sandbox, root: r.Root, kernel: r.Kernel, saved: r.Saved}
	sb.view.NodeID, sb.view.HostIP = o.cfg.NodeID, ""
	keep.artifacts[r.Saved.Artifact] = true
	keep.paused = append(keep.paused, sb)
	o.mu.Lock()
	o.sandboxes[sb.id] = sb
	o.mu.Unlock()
	if r.Sandbox.State == shoal.StatePaused {
		return nil
	}
	if err := o.settle(sb, shoal.StatePaused); err != nil {
		// The record says less than it could; the next start comes to the same.
		o.log.Error("the record of a paused sandbox cannot be written", "sandbox", sb.id, "error", err)
	}
	return nil
}

// sealLeft brings to the disk what an earlier process had no time for.
func (o *Orchestrator) sealLeft(paused []*sandbox) {
	o.sealing.Go(func() {
		for _, sb := range paused {
			sb.mu.Lock()
			from := sb.saved
			sb.mu.Unlock()
			if from == nil {
				continue // resumed or killed meanwhile
			}
			if err := o.trySeal(sb, *from); err != nil {
				o.log.Error("the snapshot of a paused sandbox is not on the disk", "sandbox", sb.id, "error", err)
			}
		}
	})
}

// removeUnused deletes the snapshots of pauses that no record names.
func (o *Orchestrator) removeUnused(list []artifact.Manifest, used map[string]bool) error {
	var errs error
	for _, m := range list {
		if strings.HasPrefix(m.ID, pausePrefix) && !used[strings.TrimSuffix(m.ID, diskSuffix)] {
			errs = errors.Join(errs, o.artifacts.Remove(m.ID))
		}
	}
	return errs
}

// adopt takes over a running sandbox.
func (o *Orchestrator) adopt(ctx context.Context, r record) error {
	slot, err := o.slots.Adopt(r.SlotIndex)
	if err != nil {
		return err
	}
	sb := &sandbox{id: r.Sandbox.SandboxID, createdAt: r.CreatedAt, view: r.Sandbox, guestID: r.GuestID, root: r.Root, kernel: r.Kernel, slot: slot}
	sb.view.NodeID = o.cfg.NodeID
	guest, err := o.runtime.Adopt(ctx, o.guestSpec(sb))
	if err != nil {
		return err
	}
	sb.guest = guest
	if r.Sandbox.State != shoal.StateRunning {
		if err := guest.Thaw(ctx); err != nil {
			return err
		}
	}
	if err = o.settle(sb, shoal.StateRunning); err == nil {
		err = o.unkeep(sb) // the record of a pause that is over may be left on the disk
	}
	if err != nil {
		o.log.Error("the record of a running sandbox cannot be written", "sandbox", sb.id, "error", err)
	}
	o.mu.Lock()
	o.sandboxes[sb.id] = sb
	o.mu.Unlock()
	o.watch(sb, guest)
	return nil
}

// removeOthers deletes the entries of dir that keep does not name.
func removeOthers(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = errors.Join(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errs
}
