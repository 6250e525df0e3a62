package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// Recover brings the machine into the state that the records describe: it
// adopts every sandbox whose guest still runs, undoes what was half done, and
// removes every guest, slot and file that belongs to no record. It must finish
// before the orchestrator is used.
func (o *Orchestrator) Recover(ctx context.Context) error {
	if err := errors.Join(o.records.open(), o.host.Open()); err != nil {
		return err
	}
	list, err := o.records.all()
	if err != nil {
		return err
	}
	r := &recovery{o: o, guests: map[string]guest.Identity{}, saved: map[string]bool{}}
	if err := r.recoverAll(ctx, list); err != nil {
		return err
	}
	snapshots, err := o.snapshots.Artifacts().ListAll()
	if err != nil {
		return err
	}
	o.builds.load(snapshots)
	r.measure(snapshots)
	o.pauses.sealLeft(r.paused)
	if err := errors.Join(o.host.Reclaim(ctx, r.guests), r.removeUnused(snapshots)); err != nil {
		return fmt.Errorf("remove what belongs to no sandbox: %w", err)
	}
	o.log.Info("recovered", "adopted", len(r.guests), "paused", len(r.saved), "records", len(list))
	return nil
}

// recovery goes through the records, and remembers what belongs to the sandboxes that it
// has recovered.
type recovery struct {
	o *Orchestrator

	mu     sync.Mutex // guards the rest; a leaf
	guests map[string]guest.Identity
	saved  map[string]bool // names of pauses' snapshots
	paused []*sandbox
}

// recoverAtOnce is how many sandboxes are recovered side by side. One that does not answer
// takes its place for adoptTime.
const recoverAtOnce = 32

func (r *recovery) recoverAll(ctx context.Context, list []record) error {
	var g errgroup.Group
	g.SetLimit(recoverAtOnce)
	for _, rec := range list {
		g.Go(func() error { return r.recover(ctx, rec) })
	}
	return g.Wait()
}

// recover finishes or undoes what an earlier process had begun with a sandbox.
func (r *recovery) recover(ctx context.Context, rec record) error {
	id := rec.Sandbox.SandboxID
	switch rec.Sandbox.State {
	case shoal.StateRunning, shoal.StateSnapshotting, shoal.StatePausing:
		// A pause that was cut off is undone while the guest lives.
		err := r.adopt(ctx, rec)
		if err == nil || !isGone(err) {
			r.keep(rec, err != nil)
			if err != nil {
				r.o.log.Error("a sandbox cannot be taken over yet", "sandbox", id, "error", err)
			}
			return nil
		}
		if rec.Saved != nil {
			if _, _, saved := r.o.snapshots.Get(rec.Saved.Artifact); saved == nil {
				return r.recoverPaused(rec) // its guest ended, but all of it was kept
			}
		}
		r.o.log.Warn("a sandbox did not survive", "sandbox", id, "error", err)
		return r.o.records.remove(id)
	case shoal.StatePaused, shoal.StateResuming:
		// A resume that was cut off is undone: its caller got no answer.
		if rec.Saved != nil {
			return r.recoverPaused(rec)
		}
	}
	// A create or a kill that was cut off: its caller got no answer.
	return r.o.records.remove(id)
}

// keep remembers that the guest of a record lives. What a pause had kept of it is needed
// only if the guest may still turn out to be gone.
func (r *recovery) keep(rec record, stranded bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[rec.GuestID] = rec.Identity
	if stranded && rec.Saved != nil {
		r.saved[rec.Saved.Artifact] = true
	}
}

// isGone tells whether there is nothing any more that could be adopted.
func isGone(err error) bool {
	return errors.Is(err, runtime.ErrGone) || errors.Is(err, os.ErrNotExist)
}

// adopt takes over a running sandbox. While that fails although its guest may live, the
// sandbox is known all the same.
func (r *recovery) adopt(ctx context.Context, rec record) error {
	sb := r.sandboxOf(rec)
	sb.last, sb.saved = rec.Identity, rec.Saved
	sb.stranded, sb.view.State = rec.Sandbox.State, shoal.StateRunning
	r.o.table.add(sb)
	err := adopter{r.o}.takeOver(ctx, sb)
	if err != nil && isGone(err) {
		r.o.table.remove(sb.id)
	}
	return err
}

// sandboxOf makes a sandbox that has no guest yet. If this version does not know its policy,
// as after a downgrade, its next guest reaches nothing; one that is adopted keeps its rules.
func (r *recovery) sandboxOf(rec record) *sandbox {
	view := rec.Sandbox
	view.NodeID, view.KeptBytes = r.o.cfg.NodeID, 0
	egress, err := network.ParsePolicy(view.Network)
	if err != nil {
		r.o.log.Error("a sandbox's network policy cannot be understood; its next guest will reach nothing",
			"sandbox", view.SandboxID, "error", err)
		egress = network.Nowhere()
	}
	return &sandbox{id: view.SandboxID, createdAt: rec.CreatedAt, view: view, egress: egress}
}

func (r *recovery) recoverPaused(rec record) error {
	sb := r.sandboxOf(rec)
	sb.saved, sb.last, sb.view.HostIP = rec.Saved, rec.Identity, ""
	r.mu.Lock()
	r.saved[rec.Saved.Artifact] = true
	r.paused = append(r.paused, sb)
	r.mu.Unlock()
	r.o.table.add(sb)
	if rec.Sandbox.State == shoal.StatePaused {
		return nil
	}
	if err := r.o.records.saveAs(sb, shoal.StatePaused); err != nil {
		// The record says less than it could; the next start comes to the same.
		r.o.log.Error("the record of a paused sandbox cannot be written", "sandbox", sb.id, "error", err)
	}
	return nil
}

// measure says what the paused sandboxes take on the disk.
func (r *recovery) measure(list []artifact.Manifest) {
	sizes := map[string]int64{}
	for _, m := range list {
		if pause, ok := snapshot.PauseOf(m.ID); ok {
			sizes[pause] += m.Size()
		}
	}
	for _, sb := range r.paused {
		sb.mu.Lock()
		if sb.saved != nil {
			sb.view.KeptBytes = sizes[sb.saved.Artifact]
		}
		sb.mu.Unlock()
	}
}

// removeUnused deletes the snapshots of pauses that no record names. One that only the depot
// has rests in the trash: with the records of another data directory it would be in use.
func (r *recovery) removeUnused(list []artifact.Manifest) error {
	artifacts := r.o.snapshots.Artifacts()
	local, err := artifacts.List()
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, m := range local {
		here[m.ID] = true
	}
	var errs error
	for _, m := range list {
		if pause, ok := snapshot.PauseOf(m.ID); !ok || r.saved[pause] {
			continue
		}
		if here[m.ID] {
			errs = errors.Join(errs, artifacts.Remove(m.ID))
		} else {
			errs = errors.Join(errs, artifacts.Trash(m.ID))
		}
	}
	return errs
}
