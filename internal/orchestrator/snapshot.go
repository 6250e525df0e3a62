package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry"
)

// Snapshot makes a build from a running sandbox, which goes on: new sandboxes of
// the build begin where this one stands now.
func (o *Orchestrator) Snapshot(ctx context.Context, sandboxID string, into shoal.SnapshotTarget) (shoal.Build, error) {
	ctx, phases := telemetry.WithPhases(context.WithoutCancel(ctx))
	var build shoal.Build
	err := o.standStill(ctx, sandboxID, "snapshotted", func(sb *sandbox, guest runtime.Guest) error {
		draft, err := o.checkpointWithDisk(ctx, sb, guest, buildArtifact(into.BuildID))
		if err != nil {
			return err
		}
		c, view, now := o.captureOf(sb), sb.snapshotView(), time.Now().UTC()
		build = shoal.Build{ID: into.BuildID, TemplateID: into.TemplateID, Status: shoal.BuildReady, Snapshot: true, SandboxID: view.SandboxID,
			Resources: view.Resources, EnvdVersion: view.EnvdVersion, ImageDigest: o.imageDigest(view.BuildID),
			DefaultUser: view.DefaultUser, DefaultWorkdir: view.DefaultWorkdir, CreatedAt: now, UpdatedAt: now, FinishedAt: now}
		c.Build = &build
		return o.commit(ctx, draft, c)
	})
	if err != nil {
		return shoal.Build{}, snapshotFailure(err, "Error creating snapshot template")
	}
	o.AddBuild(build)
	o.log.Info("snapshot made", "sandbox", sandboxID, "build", build.ID, "request", shoal.RequestID(ctx), "phases_ms", phases)
	return build, nil
}

// checkpointWithDisk is a checkpoint with the disk, by itself, beside it: sandboxes can
// be made of it even if the memory cannot be restored. The guest is frozen meanwhile,
// so a large disk is left out.
func (o *Orchestrator) checkpointWithDisk(ctx context.Context, sb *sandbox, guest runtime.Guest, name string) (draft *artifact.Draft, err error) {
	if stats, err := guest.Stats(ctx); err != nil || stats.DiskBytes > maxFrozenDisk {
		return o.checkpoint(ctx, guest, name, true)
	}
	// The next process thaws a guest whose record says so.
	if err := o.saveView(sb); err != nil {
		return nil, err
	}
	if err := guest.Freeze(ctx); err != nil {
		return nil, err
	}
	draft, err = o.checkpoint(ctx, guest, name, true)
	if err == nil {
		end := telemetry.Begin(ctx, "disk")
		err = writeUpper(ctx, guest, filepath.Join(draft.Dir(), diskFile))
		end()
	}
	if err = errors.Join(err, guest.Thaw(ctx)); err != nil && draft != nil {
		err = errors.Join(err, draft.Discard())
	}
	return draft, err
}

// maxFrozenDisk bounds the disk that is written while a guest stands still for a
// snapshot, in bytes.
const maxFrozenDisk = 256 << 20

func (o *Orchestrator) imageDigest(buildID string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.builds[buildID].ImageDigest
}

// forkWorkers bounds how many copies of one sandbox start at once.
const forkWorkers = 4

// Fork starts a copy of a running sandbox for each specification, with its memory
// and disk; the sandbox goes on. The results are in the order of the specifications.
func (o *Orchestrator) Fork(ctx context.Context, sandboxID string, specs []shoal.Spec) ([]shoal.ForkResult, error) {
	ctx, phases := telemetry.WithPhases(context.WithoutCancel(ctx))
	var draft *artifact.Draft
	var c capture
	err := o.standStill(ctx, sandboxID, "forked", func(sb *sandbox, guest runtime.Guest) (err error) {
		c = o.captureOf(sb)
		draft, err = o.checkpoint(ctx, guest, forkPrefix+sb.id, false)
		return err
	})
	if err != nil {
		return nil, snapshotFailure(err, "Error forking sandbox")
	}
	from := origin{root: c.Root, kernel: c.Kernel, checkpoint: draft.Dir()}
	results := make([]shoal.ForkResult, len(specs))
	var g errgroup.Group
	g.SetLimit(forkWorkers)
	for i, spec := range specs {
		g.Go(func() error {
			results[i].Sandbox, results[i].Err = o.createFrom(ctx, spec, func(ctx context.Context, sb *sandbox) error {
				return o.boot(ctx, sb, from, o.firstLease(spec, true))
			})
			return nil
		})
	}
	_ = g.Wait()
	if err := draft.Discard(); err != nil {
		o.log.Warn("a used snapshot is left", "sandbox", sandboxID, "error", err)
	}
	o.log.Info("sandbox forked", "sandbox", sandboxID, "count", len(specs), "request", shoal.RequestID(ctx), "phases_ms", phases)
	return results, nil
}

// standStill runs f while a running sandbox is in no other transition. If this process
// ends meanwhile, the sandbox runs on.
func (o *Orchestrator) standStill(ctx context.Context, sandboxID, participle string, f func(*sandbox, runtime.Guest) error) error {
	sb, err := o.find(sandboxID)
	if err != nil {
		return err
	}
	t, err := sb.beginAlone(shoal.StateSnapshotting, func(state shoal.State) error {
		switch {
		case state == shoal.StateRunning:
			return nil
		case state == shoal.StateCreating:
			return shoal.NotFound(sb.id)
		case state == shoal.StatePaused && participle == "snapshotted":
			return shoal.NotRunning(sb.id)
		case state == shoal.StatePaused:
			return shoal.ErrSandboxPaused.New("Sandbox '%s' is paused and cannot be forked; resume it first", sb.id)
		default:
			return shoal.ErrSandboxState.New("Sandbox '%s' cannot be %s while in '%s' state", sb.id, participle, state)
		}
	})
	if err != nil {
		return err
	}
	sb.mu.Lock()
	guest := sb.guest
	sb.mu.Unlock()
	err = f(sb, guest)
	sb.end(t, shoal.StateRunning, err)
	if recordErr := o.saveView(sb); recordErr != nil { // it may say that the guest stands still
		o.log.Error("the record of a running sandbox cannot be written", "sandbox", sb.id, "error", recordErr)
	}
	o.nudge()
	return err
}

// snapshotFailure keeps what the caller did wrong, and wraps what the machine did.
func snapshotFailure(err error, message string) error {
	var known *shoal.Error
	if errors.As(err, &known) && known.Status < 500 {
		return known
	}
	return shoal.ErrSnapshotFailed.Wrap(fmt.Errorf("the sandbox goes on: %w", err), "%s", message)
}
