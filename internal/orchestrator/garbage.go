package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// collectAge is how old a build must be before it may count as forgotten: the api
// registers a build after the machine has made it.
const collectAge = 10 * time.Minute

// Collect removes what nothing on this machine or in the store needs any more: snapshots
// whose builds are not among the known ones, snapshots of pauses that no sandbox has, root
// images and sandbox kernels that no build, snapshot or sandbox needs.
func (o *Orchestrator) Collect(ctx context.Context, known []string) (shoal.Collected, error) {
	g := &garbage{cfg: o.cfg, log: o.log, table: o.table, builds: o.builds, snapshots: o.snapshots,
		runtimes: o.host.Runtimes()}
	err := g.collect(known)
	if g.found != (shoal.Collected{}) {
		o.log.Info("removed what nothing needs any more", "builds", g.found.Builds, "snapshots", g.found.Snapshots,
			"images", g.found.Images, "kernels", g.found.Kernels, "bytes", g.found.Bytes)
	}
	return g.found, err
}

// RemoveBuild forgets a build, with the memory that was kept for it. Sandboxes that
// were started from it are not affected. The base template stays.
func (o *Orchestrator) RemoveBuild(ctx context.Context, buildID string) error {
	if !o.builds.drop(buildID) {
		return nil
	}
	return o.snapshots.RemoveBuild(buildID)
}

// garbage is one collection.
type garbage struct {
	cfg       *Config
	log       *slog.Logger
	table     *table
	builds    *builds
	snapshots *snapshot.Store
	runtimes  runtime.Set
	found     shoal.Collected
}

func (g *garbage) collect(known []string) error {
	if err := g.collectSnapshots(known); err != nil {
		return err
	}
	needed, err := g.needed()
	if err != nil {
		return err
	}
	return errors.Join(g.collectImages(needed.images), g.collectKernels(needed.kernels))
}

func (g *garbage) collectSnapshots(known []string) error {
	list, err := g.snapshots.Artifacts().ListAll()
	if err != nil {
		return err
	}
	paused := map[string]bool{}
	for _, sb := range g.table.all() {
		sb.mu.Lock()
		if sb.saved != nil {
			paused[sb.saved.Artifact] = true
		}
		sb.mu.Unlock()
	}
	for _, m := range list {
		if time.Since(m.CreatedAt) < collectAge {
			continue
		}
		c, unreadable := snapshot.Parse(m)
		if unreadable != nil {
			// It may be in use: only its name is known.
			g.log.Warn("the description of a snapshot cannot be read; it stays", "snapshot", m.ID)
			continue
		}
		pause, _ := snapshot.PauseOf(m.ID)
		switch {
		case c.Build != nil:
			if slices.Contains(known, c.Build.ID) {
				continue
			}
			g.found.Builds++
			g.builds.drop(c.Build.ID)
		case paused[pause]:
			continue
		default:
			g.found.Snapshots++
		}
		g.found.Bytes += m.Size()
		err = errors.Join(err, g.snapshots.Artifacts().Remove(m.ID))
	}
	return err
}

// needs is what must stay: images by path, kernels by name, which no two runtimes share.
type needs struct {
	images  map[string]bool
	kernels map[string]bool
}

func (n needs) add(root runtime.Root, kernel string) {
	for _, path := range root.Images() {
		n.images[path] = true
	}
	n.kernels[kernel] = true
}

func (g *garbage) needed() (needs, error) {
	used := needs{images: map[string]bool{}, kernels: map[string]bool{}}
	for _, build := range g.builds.all() {
		if root, err := g.builds.root(build); err == nil {
			used.add(root, "")
		}
	}
	for _, sb := range g.table.all() {
		sb.mu.Lock()
		used.add(sb.last.Root, sb.last.Kernel) // whatever becomes of it meanwhile
		sb.mu.Unlock()
	}
	if g.cfg.Pinned != nil {
		digests, err := g.cfg.Pinned()
		if err != nil {
			return used, err
		}
		for _, digest := range digests {
			if path, err := g.builds.images.Path(digest); err == nil {
				used.images[path] = true
			}
		}
	}
	list, err := g.snapshots.Artifacts().ListAll()
	if err != nil {
		return used, err
	}
	for _, m := range list {
		c, err := snapshot.Parse(m)
		if err != nil {
			return used, &artifact.CorruptError{ID: m.ID,
				Reason: "its description cannot be read, so nothing that it might need is removed"}
		}
		used.add(c.Root, c.Kernel)
	}
	return used, nil
}

func (g *garbage) collectImages(needed map[string]bool) error {
	digests, err := g.builds.images.List()
	if err != nil {
		return err
	}
	for _, digest := range digests {
		path, pathErr := g.builds.images.Path(digest)
		info, statErr := os.Stat(path)
		if pathErr != nil || statErr != nil || needed[path] || time.Since(info.ModTime()) < collectAge {
			continue
		}
		g.found.Images++
		g.found.Bytes += info.Size()
		err = errors.Join(err, g.builds.images.Remove(digest))
	}
	return err
}

func (g *garbage) collectKernels(needed map[string]bool) error {
	var errs error
	for _, rt := range g.runtimes {
		removed, bytes, err := rt.RemoveKernels(func(kernel string) bool { return needed[kernel] })
		g.found.Kernels += removed
		g.found.Bytes += bytes
		errs = errors.Join(errs, err)
	}
	return errs
}
