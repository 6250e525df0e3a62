package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/shoal"
)

// Recover brings the machine into the state that the records describe: it
// adopts every sandbox whose guest still runs, undoes what was half done, and
// removes every guest, slot and file that belongs to no record. It must finish
// before the orchestrator is used.
func (o *Orchestrator) Recover(ctx context.Context) error {
	for _, dir := range []string{o.recordsDir(), o.upperDir(), filepath.Join(o.cfg.RunDir, "guests")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a state directory: %w", err)
		}
	}
	records, err := o.readRecords()
	if err != nil {
		return err
	}
	guests, slots := map[string]bool{}, map[int]bool{}
	for _, r := range records {
		if r.Sandbox.State != shoal.StateRunning {
			// A create or a kill that was cut off: its caller got no answer.
			if err := o.removeRecord(r.Sandbox.SandboxID); err != nil {
				return err
			}
			continue
		}
		if err := o.adopt(ctx, r); err != nil {
			o.log.Warn("a sandbox did not survive", "sandbox", r.Sandbox.SandboxID, "error", err)
			if err := o.removeRecord(r.Sandbox.SandboxID); err != nil {
				return err
			}
			continue
		}
		guests[r.GuestID], slots[r.SlotIndex] = true, true
	}
	err = errors.Join(
		o.runtime.Reclaim(ctx, func(id string) bool { return guests[id] }),
		o.slots.Reclaim(func(index int) bool { return slots[index] }),
		removeOthers(filepath.Join(o.cfg.RunDir, "guests"), guests),
	)
	if err != nil {
		return fmt.Errorf("remove what belongs to no sandbox: %w", err)
	}
	o.log.Info("recovered", "adopted", len(guests), "records", len(records))
	return nil
}

// adopt takes over a running sandbox.
func (o *Orchestrator) adopt(ctx context.Context, r record) error {
	slot, err := o.slots.Adopt(r.SlotIndex)
	if err != nil {
		return err
	}
	sb := &sandbox{id: r.Sandbox.SandboxID, view: r.Sandbox, guestID: r.GuestID, image: r.Image, slot: slot}
	sb.view.NodeID = o.cfg.NodeID
	guest, err := o.runtime.Adopt(ctx, o.guestSpec(sb))
	if err != nil {
		return err
	}
	sb.guest = guest
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
