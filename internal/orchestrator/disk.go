package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// The disk of a sandbox, by itself: what its guest wrote on top of the image, in
// a form that does not depend on a kernel. It is all that a pause without memory
// keeps. A pause with memory keeps it too, as an artifact beside the checkpoint,
// written while the guest rests: should the memory not come back, the sandbox
// still boots with its files.

const (
	diskFile   = "disk.tar"
	diskSuffix = "-disk" // of the artifact beside a checkpoint's
	// maxSpareDisk bounds what is written twice, in bytes. A larger disk is only
	// in the checkpoint.
	maxSpareDisk = 2 << 30
)

// captureDisk keeps the disk of a frozen guest.
func (o *Orchestrator) captureDisk(ctx context.Context, sb *sandbox, guest runtime.Guest, name string) error {
	defer telemetry.Begin(ctx, "disk")()
	draft, err := o.artifacts.Draft(name)
	if err != nil {
		return err
	}
	if err := writeUpper(ctx, guest, filepath.Join(draft.Dir(), diskFile)); err != nil {
		return errors.Join(err, draft.Discard())
	}
	c := o.captureOf(sb)
	c.Memory = false
	return o.commit(ctx, draft, c)
}

func writeUpper(ctx context.Context, guest runtime.Guest, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(guest.Upper(ctx, f), f.Close())
}

// keepDisk writes the disk of a resting guest. It is a help for bad days: a pause
// does not depend on it.
func (o *Orchestrator) keepDisk(ctx context.Context, sb *sandbox, guest runtime.Guest, from saved) {
	stats, err := guest.Stats(ctx)
	if stats.DiskBytes > maxSpareDisk || !sb.isSavedAs(from) {
		return
	}
	if err == nil {
		err = o.captureDisk(ctx, sb, guest, from.Artifact+diskSuffix)
	}
	stale := !sb.isSavedAs(from)
	if stale { // resumed meanwhile, so that what was read may be torn; or killed
		err = errors.Join(err, o.artifacts.Remove(from.Artifact+diskSuffix))
	}
	if err != nil && !stale {
		o.log.Warn("the disk of a paused sandbox is only in its checkpoint", "sandbox", sb.id, "error", err)
	}
}

// isSavedAs tells whether the sandbox is paused still, or again, with this snapshot.
func (s *sandbox) isSavedAs(from saved) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved != nil && s.saved.Artifact == from.Artifact && s.view.State == shoal.StatePaused
}

// diskOf finds the artifact that holds the disk alone.
func (o *Orchestrator) diskOf(from saved) (*artifact.Artifact, capture, error) {
	name := from.Artifact
	if from.Memory {
		name += diskSuffix
	}
	a, c, err := o.readCapture(name)
	if err == nil {
		err = snapshotError(name, a.Verify())
	}
	return a, c, err
}

// bootDisk starts a new guest with the disk of a paused sandbox.
func (o *Orchestrator) bootDisk(ctx context.Context, sb *sandbox, from saved, l lease) error {
	a, c, err := o.diskOf(from)
	if err != nil && from.Memory {
		a, c, err = o.extractDisk(ctx, sb, from)
	}
	if err != nil {
		return err
	}
	sb.mu.Lock()
	sb.view.ColdBoot = true
	sb.mu.Unlock()
	if l.env == nil {
		l.env = o.cfg.GuestEnv // what the client gave was in memory alone
	}
	return o.boot(ctx, sb, origin{root: c.Root, upper: filepath.Join(a.Dir, diskFile)}, l)
}

// extractDisk reads the disk out of a checkpoint, by way of a guest that is
// restored and frozen at once.
func (o *Orchestrator) extractDisk(ctx context.Context, sb *sandbox, from saved) (*artifact.Artifact, capture, error) {
	defer telemetry.Begin(ctx, "extract_disk")()
	start, err := o.openCapture(from.Artifact)
	if err != nil {
		return nil, capture{}, err
	}
	if err := o.prepare(ctx, sb, start, nil); err != nil {
		return nil, capture{}, err
	}
	err = o.startGuest(ctx, sb, start, nil)
	if err == nil {
		err = errors.Join(sb.guest.Freeze(ctx), start.verify())
	}
	if err == nil {
		err = o.captureDisk(ctx, sb, sb.guest, from.Artifact+diskSuffix)
	}
	if err := errors.Join(err, o.stopGuest(ctx, sb)); err != nil {
		return nil, capture{}, fmt.Errorf("read the disk out of the snapshot: %w", err)
	}
	return o.diskOf(from)
}

// removeSaved deletes all that a paused sandbox could come back from.
func (o *Orchestrator) removeSaved(from saved) error {
	return errors.Join(o.artifacts.Remove(from.Artifact), o.artifacts.Remove(from.Artifact+diskSuffix))
}
