package orchestrator

import (
	"context"
	"errors"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/telemetry"
)

// Snapshot makes a build from a running sandbox, which goes on: new sandboxes of
// the build begin where this one stands now.
func (o *Orchestrator) Snapshot(
	ctx context.Context, sandboxID string, into shoal.SnapshotTarget,
) (shoal.Build, error) {
	return outlast(ctx, o.tasks, func(goesOn context.Context) (shoal.Build, error) {
		return copier{o}.snapshot(goesOn, ctx, sandboxID, into)
	})
}

// snapshot keeps nothing if the caller is gone, who would have to register it.
func (o copier) snapshot(
	ctx, caller context.Context, sandboxID string, into shoal.SnapshotTarget,
) (build shoal.Build, err error) {
	ctx, phases := telemetry.WithPhases(ctx)
	ctx, end := o.meters.measure(ctx, opSnapshot, sandboxID)
	defer func() { end(err) }()
	var size int64
	err = o.standStill(ctx, sandboxID, "snapshotted", shoal.NotRunning(sandboxID), func(sb *sandbox, own *guest.Guest) error {
		take := o.pauses.checkpointWithDisk
		if into.DiskOnly {
			take = o.pauses.diskAlone
		}
		draft, err := take(ctx, sb, own, snapshot.BuildName(into.BuildID))
		if err == nil {
			err = discardIfGone(caller, draft)
		}
		if err != nil {
			return err
		}
		c, view, now := snapshot.Of(own), sb.viewNow(), time.Now().UTC()
		c.Memory = !into.DiskOnly
		parent, _ := o.builds.get(view.BuildID)
		build = shoal.Build{ID: into.BuildID, TemplateID: into.TemplateID, Status: shoal.BuildReady,
			Snapshot: true, SandboxID: view.SandboxID, Resources: view.Resources, EnvdVersion: view.EnvdVersion,
			ImageDigest: parent.ImageDigest, Layers: parent.Layers, Runtime: parent.Runtime,
			DefaultUser: view.DefaultUser, DefaultWorkdir: view.DefaultWorkdir,
			CreatedAt: now, UpdatedAt: now, FinishedAt: now}
		c.Build = &build
		size, err = o.snapshots.Commit(ctx, draft, c)
		return err
	})
	if err != nil {
		return shoal.Build{}, snapshotFailure(err, "Error creating snapshot template")
	}
	build = o.builds.add(build, size)
	o.log.Info("snapshot made", "sandbox", sandboxID, "build", build.ID,
		"request", shoal.RequestID(ctx), "phases_ms", phases)
	return build, nil
}

// diskAlone writes the disk into a draft. The guest stands still for as long as it takes.
func (p *pauses) diskAlone(
	ctx context.Context, sb *sandbox, own *guest.Guest, name string,
) (draft *artifact.Draft, err error) {
	return p.whileFrozen(ctx, sb, own, func() (*artifact.Draft, error) {
		return p.snapshots.DraftDisk(ctx, own, name)
	})
}

// whileFrozen makes a draft of a guest that stands still.
func (p *pauses) whileFrozen(
	ctx context.Context, sb *sandbox, own *guest.Guest, take func() (*artifact.Draft, error),
) (*artifact.Draft, error) {
	// If this process dies now, the next one sees `snapshotting` in the record, and thaws.
	if err := p.records.save(sb); err != nil {
		return nil, err
	}
	if err := own.Freeze(ctx); err != nil {
		return nil, err
	}
	draft, err := take()
	if err = errors.Join(err, own.Thaw(ctx)); err != nil && draft != nil {
		err = errors.Join(err, draft.Discard())
	}
	return draft, err
}

// checkpointWithDisk is a checkpoint with the disk in a file of its own beside it, which
// sandboxes boot from if the memory cannot be restored. The guest is frozen meanwhile, so a
// large disk is in the checkpoint only.
func (p *pauses) checkpointWithDisk(
	ctx context.Context, sb *sandbox, own *guest.Guest, name string,
) (draft *artifact.Draft, err error) {
	if stats, err := own.Stats(ctx); err != nil || stats.DiskBytes > maxFrozenDisk {
		return p.snapshots.Checkpoint(ctx, own, name, true)
	}
	return p.whileFrozen(ctx, sb, own, func() (*artifact.Draft, error) {
		draft, err := p.snapshots.Checkpoint(ctx, own, name, true)
		if err == nil {
			defer telemetry.Begin(ctx, "disk")()
			err = snapshot.WriteDisk(ctx, own, draft)
		}
		return draft, err
	})
}

// maxFrozenDisk bounds the disk that is written while a guest stands still for a
// snapshot, in bytes.
const maxFrozenDisk = 256 << 20
