package snapshot

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Names of snapshots. A pause has a name of its own each time, so that the sandbox's record
// says which of them it means.
const (
	pausePrefix = "pause-"
	buildPrefix = "build-"
	forkPrefix  = "fork-"
)

// PauseName is a new name for a pause of a sandbox.
func PauseName(sandboxID string) string {
	return pausePrefix + sandboxID + "-" + shoal.NewExecutionID()[:8]
}

// BuildName is the name of a build that begins with a guest's memory or images.
func BuildName(buildID string) string { return buildPrefix + buildID }

// ForkName is the name of a snapshot that forks of a sandbox start from.
func ForkName(sandboxID string) string { return forkPrefix + sandboxID }

// PauseOf tells whether a name is that of a pause, or of the disk kept beside one, and which
// pause it is.
func PauseOf(name string) (pause string, ok bool) {
	return strings.TrimSuffix(name, diskSuffix), strings.HasPrefix(name, pausePrefix)
}

// BuildOf tells by a name which build a snapshot is of.
func BuildOf(name string) (buildID string, ok bool) { return strings.CutPrefix(name, buildPrefix) }

// IsFork tells by a name that forks start from a snapshot.
func IsFork(name string) bool { return strings.HasPrefix(name, forkPrefix) }

// Store makes and finds snapshots.
type Store struct {
	artifacts *artifact.Store
	saving    atomic.Int64
}

// NewStore keeps snapshots among the artifacts of a machine.
func NewStore(artifacts *artifact.Store) *Store { return &Store{artifacts: artifacts} }

// Saving is how many checkpoints are under way.
func (s *Store) Saving() int { return int(s.saving.Load()) }

// Artifacts are the snapshots' bytes.
func (s *Store) Artifacts() *artifact.Store { return s.artifacts }

// Checkpoint writes a guest's memory and disk into a draft. toStay means that the
// caller will wait until it is on the disk, so that it is flushed early.
func (s *Store) Checkpoint(
	ctx context.Context, g *guest.Guest, name string, toStay bool,
) (*artifact.Draft, error) {
	defer telemetry.Begin(ctx, "checkpoint")()
	s.saving.Add(1)
	defer s.saving.Add(-1)
	draft, err := s.artifacts.Draft(name)
	if err != nil {
		return nil, err
	}
	if toStay {
		draft.FlushEarly()
	}
	if err := g.Checkpoint(ctx, draft.Dir()); err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return draft, nil
}

// Commit makes a draft a snapshot that is on the disk, and returns its size in bytes.
func (s *Store) Commit(ctx context.Context, draft *artifact.Draft, c Capture) (size int64, err error) {
	defer telemetry.Begin(ctx, "commit")()
	a, err := draft.Commit(c)
	if err != nil {
		return 0, errors.Join(err, draft.Discard())
	}
	return a.Size(), nil
}

// CommitLoose is Commit without waiting for the disk; Seal follows.
func (s *Store) CommitLoose(ctx context.Context, draft *artifact.Draft, c Capture) (size int64, err error) {
	defer telemetry.Begin(ctx, "commit")()
	a, err := draft.CommitLoose(c)
	if err != nil {
		return 0, errors.Join(err, draft.Discard())
	}
	return a.Size(), nil
}

// KeepBuild makes a snapshot of a build that has images alone: only its capture is kept.
func (s *Store) KeepBuild(ctx context.Context, c Capture) error {
	draft, err := s.artifacts.Draft(BuildName(c.Build.ID))
	if err != nil {
		return err
	}
	_, err = s.Commit(ctx, draft, c)
	return err
}

// Seal waits until a loose snapshot is on the disk.
func (s *Store) Seal(name string) error { return s.artifacts.Seal(name) }

// RemoveBuild removes what was kept of a build. It is no error if there is none.
func (s *Store) RemoveBuild(buildID string) error { return s.artifacts.Remove(BuildName(buildID)) }
