package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// collectAge is how old a build must be before it may count as forgotten: the api
// registers a build after the machine has made it.
const collectAge = 10 * time.Minute

// Collect removes what nothing refers to any more: snapshots whose builds are not
// among the known ones, snapshots of pauses that no sandbox has, root images and
// sandbox kernels that no build, snapshot or sandbox needs.
func (o *Orchestrator) Collect(ctx context.Context, known []string) (shoal.Collected, error) {
	var out shoal.Collected
	err := o.collectSnapshots(ctx, known, &out)
	if err != nil {
		return out, err
	}
	used, err := o.references()
	if err != nil {
		return out, err
	}
	err = errors.Join(o.collectImages(used.images, &out), o.collectKernels(used.kernels, &out))
	if out != (shoal.Collected{}) {
		o.log.Info("removed what nothing refers to", "builds", out.Builds, "snapshots", out.Snapshots,
			"images", out.Images, "kernels", out.Kernels, "bytes", out.Bytes)
	}
	return out, err
}

func (o *Orchestrator) collectSnapshots(ctx context.Context, known []string, out *shoal.Collected) error {
	list, err := o.artifacts.ListAll()
	if err != nil {
		return err
	}
	paused := map[string]bool{}
	for _, sb := range o.all() {
		sb.mu.Lock()
		if sb.saved != nil {
			paused[sb.saved.Artifact], paused[sb.saved.Artifact+diskSuffix] = true, true
		}
		sb.mu.Unlock()
	}
	for _, m := range list {
		if time.Since(m.CreatedAt) < collectAge {
			continue
		}
		var c capture
		if json.Unmarshal(m.Meta, &c) != nil {
			// It may be in use: only its name is known.
			o.log.Warn("the description of a snapshot cannot be read; it stays", "snapshot", m.ID)
			continue
		}
		switch {
		case c.Build != nil:
			if slices.Contains(known, c.Build.ID) {
				continue
			}
			out.Builds++
			err = errors.Join(err, o.RemoveBuild(ctx, c.Build.ID))
		case paused[m.ID]:
			continue
		default:
			out.Snapshots++
		}
		out.Bytes += m.Size()
		err = errors.Join(err, o.artifacts.Remove(m.ID))
	}
	return err
}

// references is what must stay, by path and by name.
type references struct {
	images  map[string]bool
	kernels map[string]bool
}

func (r references) add(root runtime.Root, kernel string) {
	for _, path := range root.Images() {
		r.images[path] = true
	}
	r.kernels[kernel] = true
}

func (o *Orchestrator) references() (references, error) {
	used := references{images: map[string]bool{}, kernels: map[string]bool{o.runtime.Kernel(): true}}
	o.mu.Lock()
	for _, b := range o.builds {
		if root, err := o.rootOf(b); err == nil {
			used.add(root, "")
		}
	}
	o.mu.Unlock()
	for _, sb := range o.all() {
		sb.mu.Lock()
		used.add(sb.root, sb.kernel)
		sb.mu.Unlock()
	}
	if o.cfg.Pinned != nil {
		digests, err := o.cfg.Pinned()
		if err != nil {
			return used, err
		}
		for _, digest := range digests {
			if path, err := o.images.Path(digest); err == nil {
				used.images[path] = true
			}
		}
	}
	list, err := o.artifacts.ListAll()
	if err != nil {
		return used, err
	}
	for _, m := range list {
		var c capture
		if err := json.Unmarshal(m.Meta, &c); err != nil {
			return used, &artifact.CorruptError{ID: m.ID, Reason: "its description cannot be read, so nothing that it might need is removed"}
		}
		used.add(c.Root, c.Kernel)
	}
	return used, nil
}

func (o *Orchestrator) collectImages(used map[string]bool, out *shoal.Collected) error {
	digests, err := o.images.List()
	if err != nil {
		return err
	}
	for _, digest := range digests {
		path, pathErr := o.images.Path(digest)
		info, statErr := os.Stat(path)
		if pathErr != nil || statErr != nil || used[path] || time.Since(info.ModTime()) < collectAge {
			continue
		}
		out.Images++
		out.Bytes += info.Size()
		err = errors.Join(err, o.images.Remove(digest))
	}
	return err
}

func (o *Orchestrator) collectKernels(used map[string]bool, out *shoal.Collected) error {
	if o.cfg.KernelDir == "" {
		return nil
	}
	entries, err := os.ReadDir(o.cfg.KernelDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if used[e.Name()] {
			continue
		}
		path := filepath.Join(o.cfg.KernelDir, e.Name())
		files, _ := filepath.Glob(filepath.Join(path, "*"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				out.Bytes += info.Size()
			}
		}
		out.Kernels++
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}
