package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/telemetry"
)

// The disk of a guest, by itself: what it wrote on top of its images, in a form that does
// not depend on a kernel. It is all that a pause without memory keeps. A pause with memory
// keeps it too, as a snapshot beside the checkpoint's, written while the guest rests: should
// the memory not come back, the sandbox still boots with its files.

// diskSuffix ends the name of the snapshot beside a checkpoint's.
const diskSuffix = "-disk"

// Saved is what a paused sandbox comes back from.
type Saved struct {
	// Artifact is the snapshot's name.
	Artifact string `json:"artifact"`
	// Memory is false if only the disk was kept.
	Memory bool `json:"memory"`
	// Silent means that the guest's daemon did not answer: its memory is of no use.
	Silent bool `json:"silent,omitempty"`
	// OnDisk means that the snapshot outlives the machine's power, so that the record
	// that names it should too.
	OnDisk bool `json:"-"`
}

// DiskName is the name of the snapshot that has the disk alone.
func (from Saved) DiskName() string {
	if from.Memory {
		return from.Artifact + diskSuffix
	}
	return from.Artifact
}

// KeepDisk makes a snapshot of the disk alone of a frozen guest, and returns its size in bytes.
func (s *Store) KeepDisk(ctx context.Context, g *guest.Guest, name string) (size int64, err error) {
	draft, err := s.DraftDisk(ctx, g, name)
	if err != nil {
		return 0, err
	}
	c := Of(g)
	c.Memory = false
	return s.Commit(ctx, draft, c)
}

// DraftDisk writes the disk of a frozen guest into a draft of its own.
func (s *Store) DraftDisk(ctx context.Context, g *guest.Guest, name string) (*artifact.Draft, error) {
	defer telemetry.Begin(ctx, "disk")()
	draft, err := s.artifacts.Draft(name)
	if err != nil {
		return nil, err
	}
	if err := WriteDisk(ctx, g, draft); err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return draft, nil
}

// WriteDisk writes the disk of a frozen guest into a draft.
func WriteDisk(ctx context.Context, g *guest.Guest, draft *artifact.Draft) error {
	f, err := os.OpenFile(filepath.Join(draft.Dir(), DiskFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(g.Upper(ctx, f), f.Close())
}

// DiskSource says how a guest starts from the disk alone, whose bytes have been checked.
// Errors are Get's.
func (s *Store) DiskSource(from Saved) (guest.Source, error) {
	a, c, err := s.Get(from.DiskName())
	if err == nil {
		err = describe(from.DiskName(), a.Verify())
	}
	if err != nil {
		return guest.Source{}, err
	}
	return c.disk(filepath.Join(a.Dir, DiskFile)), nil
}

// DropDisk removes the disk that is kept beside a checkpoint.
func (s *Store) DropDisk(from Saved) error { return s.artifacts.Remove(from.Artifact + diskSuffix) }

// Drop removes all that a paused sandbox could come back from.
func (s *Store) Drop(from Saved) error {
	return errors.Join(s.artifacts.Remove(from.Artifact), s.DropDisk(from))
}
