package orchestrator

import (
	"context"
	"errors"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// volumesOf finds the content of a sandbox's volumes. What cannot be found is left out and told by err.
func (g *guests) volumesOf(spec shoal.Spec) (list []runtime.Volume, err error) {
	for _, m := range spec.VolumeMounts {
		if g.cfg.VolumeDir == nil {
			return nil, errors.New("this machine has no volumes")
		}
		dir, dirErr := g.cfg.VolumeDir(m.Backend, spec.TeamID, m.ID)
		if dirErr != nil {
			err = errors.Join(err, dirErr)
			continue
		}
		list = append(list, runtime.Volume{ID: m.ID + " " + m.Path, Dir: dir, Path: m.Path,
			Bytes: m.SizeMB << 20, Counter: filepath.Join(g.cfg.VolumeCounters, m.ID)})
	}
	return list, err
}

// haveVolumes fails if the content of a new sandbox's volumes is not on this machine.
func (g *guests) haveVolumes(spec shoal.Spec) error {
	if _, err := g.volumesOf(spec); err != nil {
		return shoal.ErrVolumeUnavailable.Wrap(err, "A volume of the sandbox is not on this machine")
	}
	return nil
}

// mountVolumes shows its volumes to a sandbox's guest, which may have them from before. A new sandbox
// must have all; one that comes back goes on without those that cannot be had, as it would if they
// went away later.
func (g *guests) mountVolumes(ctx context.Context, sb *sandbox) error {
	view := sb.viewNow()
	if len(view.VolumeMounts) == 0 {
		return nil
	}
	list, err := g.volumesOf(view.Spec)
	var mounts errgroup.Group
	for _, v := range list {
		mounts.Go(func() error { return sb.guest.Mount(ctx, v) })
	}
	if err = errors.Join(err, mounts.Wait()); err == nil {
		return nil
	}
	if view.State != shoal.StateCreating {
		g.log.Error("a sandbox is without its volumes", "sandbox", sb.id, "error", err)
		return nil
	}
	return shoal.ErrVolumeUnavailable.Wrap(err, "A volume of the sandbox could not be mounted")
}
