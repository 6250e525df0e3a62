package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// capture describes a snapshot, in its artifact's manifest: what it takes to
// bring a guest back from it.
type capture struct {
	Runtime string       `json:"runtime"`
	Version string       `json:"version"`
	Kernel  string       `json:"kernel"`
	Root    runtime.Root `json:"root"`
	// Memory means that the artifact holds a checkpoint.
	Memory bool `json:"memory"`
	// Build is set if sandboxes are made from the snapshot.
	Build *shoal.Build `json:"build,omitempty"`
}

// Names of artifacts. A pause has a name of its own each time, so that the
// sandbox's record says which of them it means.
const (
	pausePrefix = "pause-"
	buildPrefix = "build-"
	forkPrefix  = "fork-"
)

func pauseArtifact(sandboxID string) string {
	return pausePrefix + sandboxID + "-" + shoal.NewExecutionID()[:8]
}

func buildArtifact(buildID string) string { return buildPrefix + buildID }

// captureOf describes a snapshot of the sandbox's present guest.
func (o *Orchestrator) captureOf(sb *sandbox) capture {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return capture{Runtime: o.runtime.Name(), Version: o.runtime.Version(), Kernel: sb.kernel, Root: sb.root, Memory: true}
}

// checkpoint writes the guest's memory and disk into a draft. toStay means that the
// draft will be waited for until the disk has it.
func (o *Orchestrator) checkpoint(ctx context.Context, guest runtime.Guest, name string, toStay bool) (*artifact.Draft, error) {
	defer telemetry.Begin(ctx, "checkpoint")()
	o.saving.Add(1)
	defer o.saving.Add(-1)
	draft, err := o.artifacts.Draft(name)
	if err != nil {
		return nil, err
	}
	if toStay {
		draft.FlushEarly()
	}
	if err := guest.Checkpoint(ctx, draft.Dir()); err != nil {
		return nil, errors.Join(err, draft.Discard())
	}
	return draft, nil
}

func (o *Orchestrator) commit(ctx context.Context, draft *artifact.Draft, c capture) error {
	defer telemetry.Begin(ctx, "commit")()
	if _, err := draft.Commit(c); err != nil {
		return errors.Join(err, draft.Discard())
	}
	return nil
}

// commitLoose is commit without waiting for the disk; seal follows.
func (o *Orchestrator) commitLoose(ctx context.Context, draft *artifact.Draft, c capture) error {
	defer telemetry.Begin(ctx, "commit")()
	if _, err := draft.CommitLoose(c); err != nil {
		return errors.Join(err, draft.Discard())
	}
	return nil
}

// openCapture finds a snapshot and says how a guest starts from it.
func (o *Orchestrator) openCapture(name string) (origin, error) {
	a, c, err := o.readCapture(name)
	if err != nil {
		return origin{}, err
	}
	from := origin{root: c.Root, kernel: c.Kernel}
	if c.Memory {
		from.checkpoint, from.verify = a.Dir, func() error { return snapshotError(name, a.Verify()) }
	}
	return from, nil
}

// openSnapshot is openCapture for the snapshot of a sandbox. Where its disk is kept by
// itself as well, that will do if the memory cannot be restored.
func (o *Orchestrator) openSnapshot(buildID string) (origin, error) {
	name := buildArtifact(buildID)
	from, err := o.openCapture(name)
	if err != nil || from.checkpoint == "" {
		return from, err
	}
	disk := filepath.Join(from.checkpoint, diskFile)
	if _, err := os.Stat(disk); err == nil {
		from.cold = &origin{root: from.root, upper: disk, verify: func() error {
			a, _, err := o.readCapture(name)
			if err == nil {
				err = snapshotError(name, a.VerifyFile(diskFile))
			}
			return err
		}}
	}
	return from, nil
}

func (o *Orchestrator) readCapture(name string) (*artifact.Artifact, capture, error) {
	var c capture
	a, err := o.artifacts.Get(name)
	if err != nil {
		return nil, c, snapshotError(name, err)
	}
	if err := json.Unmarshal(a.Meta, &c); err != nil {
		return nil, c, snapshotError(name, &artifact.CorruptError{ID: name, Reason: "its description cannot be read"})
	}
	return a, c, nil
}

// snapshotError names what is wrong with a snapshot's bytes.
func snapshotError(name string, err error) error {
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

// loadBuilds offers the builds whose snapshots are on this machine.
func (o *Orchestrator) loadBuilds(list []artifact.Manifest) {
	for _, m := range list {
		var c capture
		if err := json.Unmarshal(m.Meta, &c); err == nil && c.Build != nil && m.ID == buildArtifact(c.Build.ID) {
			o.AddBuild(*c.Build)
		}
	}
}

// RemoveBuild forgets a build, with the memory that was kept for it. Sandboxes that
// were started from it are not affected. The base template stays.
func (o *Orchestrator) RemoveBuild(ctx context.Context, buildID string) error {
	if !o.dropBuild(buildID) {
		return nil
	}
	return o.artifacts.Remove(buildArtifact(buildID))
}
