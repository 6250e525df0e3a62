// Package snapshot keeps what guests come back from: the memory of one, the disk of one, or
// both, as artifacts. A pause, a snapshot of a sandbox, a template that begins with running
// programs and a fork all are such snapshots.
package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// Capture is the description of a snapshot, in its artifact's manifest: what it takes to bring
// a guest back from it.
type Capture struct {
	runtime.Maker
	Root runtime.Root `json:"root"`
	// Memory means that the artifact holds a checkpoint.
	Memory bool `json:"memory"`
	// Build is set if sandboxes are made from the snapshot.
	Build *shoal.Build `json:"build,omitempty"`
}

// Of describes a snapshot of a guest with its memory.
func Of(g *guest.Guest) Capture {
	return Capture{Maker: g.Maker(), Root: g.Root(), Memory: true}
}

// Parse reads the description in a manifest.
func Parse(m artifact.Manifest) (Capture, error) {
	var c Capture
	if err := json.Unmarshal(m.Meta, &c); err != nil {
		return c, &artifact.CorruptError{ID: m.ID, Reason: "its description cannot be read"}
	}
	return c, nil
}

// disk is a guest's start from the disk alone. Only the runtime that wrote it is sure to
// read it.
func (c Capture) disk(path string) guest.Source {
	return guest.Source{Root: c.Root, Upper: path, Runtime: shoal.RuntimeWish{Name: c.Runtime, Required: true}}
}

// DiskFile is the name of the file that holds the disk, in a snapshot's artifact.
const DiskFile = "disk.tar"

// Get finds a snapshot. Errors are ErrSnapshotMissing and ErrSnapshotDamaged.
func (s *Store) Get(name string) (*artifact.Artifact, Capture, error) {
	a, err := s.artifacts.Get(name)
	if err != nil {
		return nil, Capture{}, describe(name, err)
	}
	c, err := Parse(a.Manifest)
	return a, c, describe(name, err)
}

// Source says how a guest starts from a snapshot. Errors are Get's.
func (s *Store) Source(name string) (guest.Source, error) {
	a, c, err := s.Get(name)
	if err != nil {
		return guest.Source{}, err
	}
	if !c.Memory {
		return guest.Source{Root: c.Root, Runtime: shoal.RuntimeWish{Name: c.Runtime}}, nil
	}
	return guest.Source{Root: c.Root, Made: c.Maker, Checkpoint: a.Dir,
		Verify: func() error { return describe(name, a.Verify()) }}, nil
}

// BuildSource is Source for a build that is a snapshot of a sandbox, which may be of its disk
// alone. Where the disk is kept beside the memory, it is the fallback if that cannot be
// restored.
func (s *Store) BuildSource(buildID string) (guest.Source, error) {
	name := BuildName(buildID)
	a, c, err := s.Get(name)
	if err != nil {
		return guest.Source{}, err
	}
	path := filepath.Join(a.Dir, DiskFile)
	cold := c.disk(path)
	cold.Verify = func() error {
		a, _, err := s.Get(name)
		if err == nil {
			err = describe(name, a.VerifyFile(DiskFile))
		}
		return err
	}
	if !c.Memory {
		return cold, nil
	}
	from, err := s.Source(name)
	if err != nil {
		return guest.Source{}, err
	}
	if _, err := os.Stat(path); err == nil {
		from.Cold = &cold
	}
	return from, nil
}

// describe names what is wrong with a snapshot's bytes.
func describe(name string, err error) error {
	var corrupt *artifact.CorruptError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, artifact.ErrMissing):
		return shoal.ErrSnapshotMissing.Wrap(err, "the snapshot's data is missing")
	case errors.As(err, &corrupt):
		return shoal.ErrSnapshotDamaged.Wrap(err, "the snapshot's data is damaged")
	default:
		return fmt.Errorf("snapshot %s: %w", name, err)
	}
}
