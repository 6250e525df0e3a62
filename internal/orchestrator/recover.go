package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

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
// removes every guest, slot and file that belongs to no record. It must return
// before the orchestrator is used. Adoptions that take longer than recoverTime
// go on after that; whoever needs such a sandbox's guest waits for it.
func (o *Orchestrator) Recover(ctx context.Context) error {
	if err := errors.Join(o.records.open(), o.host.Open()); err != nil {
		return err
	}
	if err := o.switches.load(); err != nil { // an api tells it again
		o.log.Error("features that are switched off for this machine are on until an api tells it", "error", err)
	}
	list, err := o.records.all()
	if err != nil {
		return err
	}
	r := &recovery{o: o, guests: map[string]guest.Identity{}, saved: map[string]bool{}}
	if err := r.readAll(list); err != nil {
		return err
	}
	if err := o.outbox.tellLost(ctx, idsOf(list)); err != nil {
		o.log.Error("the end of sandboxes without a record cannot be told", "error", err)
	}
	snapshots, err := o.snapshots.Artifacts().ListAll()
	if err != nil {
		return err
	}
	o.builds.load(snapshots)
	r.measure(snapshots)
	o.pauses.sealLeft(r.paused)
	// From here on it is known what belongs to a record, and no slot of it is given away.
	if err := errors.Join(o.host.Reclaim(ctx, r.guests), r.removeUnused(snapshots)); err != nil {
		return fmt.Errorf("remove what belongs to no sandbox: %w", err)
	}
	return r.adoptAll(ctx)
}

// recovery goes through the records, and remembers what belongs to the sandboxes in them.
type recovery struct {
	o *Orchestrator

	mu      sync.Mutex // guards the rest; a leaf
	guests  map[string]guest.Identity
	saved   map[string]bool // names of pauses' snapshots
	paused  []*sandbox
	running []*sandbox // those to adopt, each in the transition of its first attempt
}

const (
	// recoverAtOnce is how many sandboxes are recovered side by side. One that does not
	// answer takes its place for adoptTime.
	recoverAtOnce = 32
	// recoverTime is how long a start waits for all adoptions before it serves. In the usual
	// case they take less, and what is served first is complete.
	recoverTime = time.Second
)

func (r *recovery) readAll(list []record) error {
	var g errgroup.Group
	g.SetLimit(recoverAtOnce)
	for _, rec := range list {
		g.Go(func() error { return r.read(rec) })
	}
	return g.Wait()
}

// read finishes or undoes what an earlier process had begun with a sandbox, except for the
// adoption of its guest.
func (r *recovery) read(rec record) error {
	id := rec.Sandbox.SandboxID
	switch rec.Sandbox.State {
	case shoal.StateRunning, shoal.StateSnapshotting, shoal.StatePausing:
		// A pause that was cut off is undone while the guest lives.
		err := r.o.host.Hold(rec.Identity)
		if err == nil || !isGone(err) {
			r.strand(rec)
			return nil
		}
		if rec.Saved != nil {
			if _, _, saved := r.o.snapshots.Get(rec.Saved.Artifact); saved == nil {
				return r.recoverPaused(rec) // its guest ended, but all of it was kept
			}
		}
		r.o.log.Warn("a sandbox did not survive", "sandbox", id, "error", err)
		return r.bury(rec)
	case shoal.StatePaused, shoal.StateResuming:
		// A resume that was cut off is undone: its caller got no answer.
		if rec.Saved != nil {
			return r.recoverPaused(rec)
		}
	}
	// A create or a kill that was cut off: its caller got no answer.
	if rec.Sandbox.State == shoal.StateCreating {
		return r.o.records.remove(id)
	}
	return r.bury(rec)
}

// bury removes the record of a sandbox that has ended, once its end is told. The record says
// why if that was known.
func (r *recovery) bury(rec record) error {
	sb := r.sandboxOf(rec)
	sb.saved = rec.Saved
	if _, err := r.o.records.enter(sb, killed(shoal.KillUnknown), true); err != nil {
		r.o.log.Warn("the record does not say that a sandbox has ended", "sandbox", sb.id, "error", err)
	}
	return r.o.outbox.bury(context.Background(), sb)()
}

func idsOf(list []record) map[string]bool {
	ids := map[string]bool{}
	for _, r := range list {
		ids[r.Sandbox.SandboxID] = true
	}
	return ids
}

// strand enters a sandbox whose guest is to be adopted. It is known from now on, and in the
// transition of the first attempt. What a pause had kept of it is needed only if the guest
// turns out to be gone.
func (r *recovery) strand(rec record) {
	sb := r.sandboxOf(rec)
	sb.last, sb.saved = rec.Identity, rec.Saved
	sb.stranded, sb.view.State = rec.Sandbox.State, shoal.StateRunning
	sb.current = &transition{to: shoal.StateRunning, done: make(chan struct{}), recovers: true}
	r.mu.Lock()
	r.guests[rec.GuestID] = rec.Identity
	if rec.Saved != nil {
		r.saved[rec.Saved.Artifact] = true
	}
	r.running = append(r.running, sb)
	r.mu.Unlock()
	r.o.table.add(sb)
}

// adoptAll begins to adopt the guests, and returns when all were tried or recoverTime is over.
// What is not over by then goes on as a task, which ends at the latest with the orchestrator.
func (r *recovery) adoptAll(ctx context.Context) error {
	tried := make(chan struct{})
	r.o.tasks.Go(func() {
		defer close(tried)
		ctx, cancel := r.o.tasks.context(ctx)
		defer cancel()
		begin := time.Now()
		var g errgroup.Group
		g.SetLimit(recoverAtOnce)
		for _, sb := range r.running {
			g.Go(func() error {
				adopter{r.o}.adoptFirst(ctx, sb)
				return nil
			})
		}
		_ = g.Wait() // those that could not be adopted are tried again
		r.o.log.Info("recovered", "running", len(r.running), "unreachable", len(r.o.table.stranded()),
			"paused", len(r.paused), "took", time.Since(begin).Round(time.Millisecond))
	})
	timer := time.NewTimer(recoverTime)
	defer timer.Stop()
	select {
	case <-tried:
	case <-timer.C:
		r.o.log.Warn("not every sandbox is recovered yet; those that are can be used")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// isGone tells whether there is nothing any more that could be adopted.
func isGone(err error) bool {
	return errors.Is(err, runtime.ErrGone) || errors.Is(err, os.ErrNotExist)
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
	sb := &sandbox{id: view.SandboxID, createdAt: rec.CreatedAt, view: view, egress: egress, unknownPolicy: err != nil,
		untold: untold{events: rec.Events, count: rec.EventCount, last: rec.EventAt}}
	if rec.Authority != "" {
		sb.authority = []byte(rec.Authority)
	}
	return sb
}

func (r *recovery) recoverPaused(rec record) error {
	sb := r.sandboxOf(rec)
	sb.saved, sb.last, sb.view.HostIP = rec.Saved, rec.Identity, ""
	r.mu.Lock()
	r.saved[rec.Saved.Artifact] = true
	r.paused = append(r.paused, sb)
	r.mu.Unlock()
	r.o.table.add(sb)
	var err error
	switch rec.Sandbox.State {
	case shoal.StatePaused:
	case shoal.StateResuming:
		err = r.o.records.saveAs(sb, shoal.StatePaused)
	default: // the pause is over now
		err = r.o.records.saveEvent(sb, to(shoal.StatePaused, shoal.EventPaused))
	}
	if err != nil {
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
