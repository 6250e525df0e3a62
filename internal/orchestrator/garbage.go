package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/artifact"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// collectAge is how old a build must be before it may count as forgotten: the api
// registers a build after the machine has made it.
const collectAge = 10 * time.Minute

// Collect removes what nothing on this machine or in the store needs any more: builds that are
// not among the known ones, with their snapshots; snapshots of pauses that no sandbox has; root
// images that no build, snapshot or sandbox needs and that are not pinned, and what runtimes have made
// of such roots; and sandbox kernels that nothing needs, except the present one. Snapshots rest in the trash first, and what they
// need stays as long. If a snapshot cannot be read, all but what it might need is removed, and
// the error names it. Nothing happens if the inventory is not believed (inventory.go).
func (o *Orchestrator) Collect(
	ctx context.Context, known shoal.Inventory, opts shoal.CollectOptions,
) (shoal.Collected, error) {
	select {
	case o.collecting <- struct{}{}: // one at a time, whoever asks
		defer func() { <-o.collecting }()
	case <-ctx.Done():
		return shoal.Collected{}, ctx.Err()
	}
	g := &garbage{cfg: o.cfg, log: o.log, table: o.table, builds: o.builds, snapshots: o.snapshots,
		runtimes: o.host.Runtimes()}
	if err := g.believe(known, opts.Adopt); err != nil {
		return shoal.Collected{}, err
	}
	err := g.collect(ctx, known.Builds, opts)
	if c := g.found; c.Builds+c.Snapshots+c.Restored+c.Emptied+c.Images+c.Kernels > 0 {
		o.log.Info("removed what nothing needs any more", "builds", c.Builds, "snapshots", c.Snapshots,
			"trashed", c.Trashed, "restored", c.Restored, "emptied", c.Emptied, "images", c.Images,
			"kernels", c.Kernels, "freed", c.Freed)
	}
	return g.found, err
}

// RemoveBuild forgets a build, with the memory that was kept for it. Sandboxes that
// were started from it are not affected. The base template stays.
func (o *Orchestrator) RemoveBuild(ctx context.Context, buildID string) error {
	if !o.builds.drop(buildID) {
		return nil
	}
	if err := o.builds.awaitUnused(ctx, buildID); err != nil {
		return err // a collection removes it
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

func (g *garbage) collect(ctx context.Context, known []string, opts shoal.CollectOptions) error {
	if err := g.collectSnapshots(ctx, known); err != nil {
		return err
	}
	if err := g.emptyTrash(opts.EmptyTrash); err != nil {
		return err
	}
	needed, err := g.needed()
	if err != nil {
		return err
	}
	return errors.Join(g.collectImages(needed), g.collectRoots(needed), g.collectKernels(needed), needed.complaint())
}

// collectSnapshots puts what nothing refers to into the trash, and brings back what
// something refers to again.
func (g *garbage) collectSnapshots(ctx context.Context, known []string) error {
	artifacts, refersTo := g.snapshots.Artifacts(), g.references(known)
	trashed, err := artifacts.Trashed()
	if err != nil {
		return err
	}
	for _, t := range trashed {
		if _, referred, _ := refersTo(t.Manifest); !referred {
			continue
		}
		back, err := artifacts.BringBack(t.ID)
		if err != nil {
			return err
		}
		if back {
			g.found.Restored++
			g.builds.load([]artifact.Manifest{t.Manifest})
		}
	}
	list, err := artifacts.ListAll()
	if err != nil {
		return err
	}
	for _, m := range list {
		build, referred, ok := refersTo(m)
		if !ok || referred || time.Since(m.CreatedAt) < collectAge {
			continue
		}
		if build != "" {
			g.builds.drop(build)
			if unused := g.builds.awaitUnused(ctx, build); unused != nil {
				return errors.Join(err, unused)
			}
			g.found.Builds++
		} else {
			g.found.Snapshots++
		}
		g.found.Trashed += m.Size()
		err = errors.Join(err, artifacts.Trash(m.ID))
	}
	return err
}

// references returns a function that tells whether the store or a sandbox refers to a snapshot,
// and which build it is of, "" if it is of none. It is not ok if nobody can tell what the
// snapshot is.
func (g *garbage) references(known []string) func(artifact.Manifest) (build string, referred, ok bool) {
	builds, paused := map[string]bool{}, map[string]bool{}
	for _, id := range known {
		builds[id] = true
	}
	for _, sb := range g.table.all() {
		sb.mu.Lock()
		if sb.saved != nil {
			paused[sb.saved.Artifact] = true
		}
		sb.mu.Unlock()
	}
	return func(m artifact.Manifest) (build string, referred, ok bool) {
		build, isBuild, ok := ownerOf(m)
		if isBuild {
			return build, builds[build], ok
		}
		pause, _ := snapshot.PauseOf(m.ID)
		return "", paused[pause], ok
	}
}

// emptyTrash removes what has been in the trash long enough, or all of it, or what the disk
// has no room for.
func (g *garbage) emptyTrash(all bool) error {
	artifacts, before := g.snapshots.Artifacts(), time.Now()
	if !all {
		before = before.Add(-artifact.TrashTime)
	}
	gone, err := artifacts.EmptyTrash(before)
	pressed, roomErr := artifacts.MakeRoom()
	g.found.Emptied = gone.Artifacts + pressed.Artifacts
	g.found.Freed = gone.Bytes + pressed.Bytes
	left, listErr := artifacts.Trashed()
	for _, t := range left {
		g.found.InTrash++
		g.found.InTrashBytes += t.Size()
	}
	return errors.Join(err, roomErr, listErr)
}

// ownerOf tells which build a snapshot is of, if it is of one: by its description, or by its
// name if that cannot be read. It is not ok if neither says what the snapshot is.
func ownerOf(m artifact.Manifest) (build string, isBuild, ok bool) {
	c, err := snapshot.Parse(m)
	if err == nil {
		if c.Build == nil {
			return "", false, true
		}
		return c.Build.ID, true, true
	}
	build, isBuild = snapshot.BuildOf(m.ID)
	return build, isBuild, isBuild || isOfSandbox(m.ID)
}

// isOfSandbox tells by its name that a snapshot is a sandbox's: what that needs is in the
// sandbox's record, too.
func isOfSandbox(name string) bool {
	_, isPause := snapshot.PauseOf(name)
	return isPause || snapshot.IsFork(name)
}

// needs is what must stay: images by path, roots made of them, kernels by name, which no two runtimes share.
type needs struct {
	images  map[string]bool
	roots   map[runtime.Root]bool
	kernels map[string]bool
	// unreadable are the snapshots whose description cannot be read.
	unreadable []string
	// unknown is when the newest of them was made of which nobody knows what it needs. That
	// can be any kernel, and any image that was there then. Zero if there is none.
	unknown time.Time
}

func (n *needs) add(root runtime.Root, kernel string) {
	for _, path := range root.Images() {
		n.images[path] = true
	}
	n.roots[root] = true
	n.kernels[kernel] = true
}

// addUnreadable keeps what a snapshot may need whose description cannot be read. Somebody
// may put the description back.
func (n *needs) addUnreadable(m artifact.Manifest) {
	n.unreadable = append(n.unreadable, m.ID)
	if !isOfSandbox(m.ID) && m.CreatedAt.After(n.unknown) {
		n.unknown = m.CreatedAt
	}
}

// complaint names the snapshots that cannot be read, and what stays for their sake.
func (n *needs) complaint() error {
	if len(n.unreadable) == 0 {
		return nil
	}
	kept := ""
	if !n.unknown.IsZero() {
		kept = "; until their templates are deleted, all sandbox kernels stay, and all images that are older than they"
	}
	return shoal.ErrSnapshotDamaged.New("the descriptions of these snapshots cannot be read: %s%s",
		strings.Join(n.unreadable, ", "), kept)
}

// image tells whether an image must stay.
func (n *needs) image(path string) bool {
	return n.images[path] || !n.unknown.IsZero() && born(path).Before(n.unknown)
}

// kernel tells whether a kernel must stay.
func (n *needs) kernel(name string) bool { return n.kernels[name] || !n.unknown.IsZero() }

// born is when a file was made, or the zero time where the file system does not tell. The
// time of an image's last change is younger, when it was to be made again.
func born(path string) time.Time {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil ||
		st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

func (g *garbage) needed() (*needs, error) {
	used := &needs{images: map[string]bool{}, roots: map[runtime.Root]bool{}, kernels: map[string]bool{}}
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
			return nil, err
		}
		for _, digest := range digests {
			if path, err := g.builds.images.Path(digest); err == nil {
				used.images[path] = true
			}
		}
	}
	list, err := g.snapshots.Artifacts().ListAll()
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if c, err := snapshot.Parse(m); err == nil {
			used.add(c.Root, c.Kernel)
		} else {
			used.addUnreadable(m)
		}
	}
	trashed, err := g.snapshots.Artifacts().Trashed()
	if err != nil {
		return nil, err
	}
	for _, t := range trashed { // those that cannot be read keep nothing: nobody asks for them
		if c, err := snapshot.Parse(t.Manifest); err == nil {
			used.add(c.Root, c.Kernel)
		}
	}
	return used, nil
}

func (g *garbage) collectImages(needed *needs) error {
	digests, err := g.builds.images.List()
	if err != nil {
		return err
	}
	for _, digest := range digests {
		path, pathErr := g.builds.images.Path(digest)
		info, statErr := os.Stat(path)
		if pathErr != nil || statErr != nil || needed.image(path) || time.Since(info.ModTime()) < collectAge {
			continue
		}
		g.found.Images++
		g.found.Freed += info.Size()
		err = errors.Join(err, g.builds.images.Remove(digest))
	}
	return err
}

// collectRoots removes what runtimes have made of roots that nothing needs, unless a snapshot may need any.
func (g *garbage) collectRoots(needed *needs) error {
	if !needed.unknown.IsZero() {
		return nil
	}
	var errs error
	roots := slices.Collect(maps.Keys(needed.roots))
	for _, rt := range g.runtimes {
		removed, bytes, err := rt.RemoveRoots(roots, time.Now().Add(-collectAge))
		g.found.Images += removed
		g.found.Freed += bytes
		errs = errors.Join(errs, err)
	}
	return errs
}

func (g *garbage) collectKernels(needed *needs) error {
	var errs error
	for _, rt := range g.runtimes {
		removed, bytes, err := rt.RemoveKernels(needed.kernel)
		g.found.Kernels += removed
		g.found.Freed += bytes
		errs = errors.Join(errs, err)
	}
	return errs
}
