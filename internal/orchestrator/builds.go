package orchestrator

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"

	"shoal/internal/artifact"
	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// Images is what the orchestrator needs of the image store.
type Images interface {
	// Path returns the root image of a digest, or an error if it is not here.
	Path(digest string) (string, error)
	// List returns the digests of all images here.
	List() ([]string, error)
	Remove(digest string) error
}

// builds is what this machine can start.
type builds struct {
	cfg       *Config
	images    Images
	snapshots *snapshot.Store

	mu     sync.Mutex
	byID   map[string]shoal.Build
	newest map[string]string // by template ID: the latest of byID
	starts map[string]*starts
}

// starts are the guests that are being started from a build, which need its files.
type starts struct {
	underWay int
	none     chan struct{} // closed when there are none any more
}

func newBuilds(cfg *Config, images Images, snapshots *snapshot.Store) *builds {
	return &builds{cfg: cfg, images: images, snapshots: snapshots,
		byID: map[string]shoal.Build{}, newest: map[string]string{}, starts: map[string]*starts{}}
}

// add makes a build startable here, and returns it with its size. snapshot is how many bytes
// are kept for it besides its images.
func (b *builds) add(build shoal.Build, snapshot int64) shoal.Build {
	build.Size = b.measure(build, snapshot)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byID[build.ID] = build
	if have, ok := b.byID[b.newest[build.TemplateID]]; !ok || !build.CreatedAt.Before(have.CreatedAt) {
		b.newest[build.TemplateID] = build.ID
	}
	return build
}

// measure tells what a build takes on the disk, or nil if an image is missing.
func (b *builds) measure(build shoal.Build, snapshot int64) *shoal.BuildSize {
	size := &shoal.BuildSize{Snapshot: snapshot}
	for _, digest := range build.Images() {
		path, err := b.images.Path(digest)
		if err != nil {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		size.Images = append(size.Images, info.Size())
	}
	return size
}

// load adds the builds whose snapshots are on this machine.
func (b *builds) load(list []artifact.Manifest) {
	for _, m := range list {
		c, err := snapshot.Parse(m)
		if err == nil && c.Build != nil && m.ID == snapshot.BuildName(c.Build.ID) {
			b.add(*c.Build, m.Size())
		}
	}
}

// drop is the contrary of add, but for the base template, which stays.
func (b *builds) drop(buildID string) (dropped bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone, ok := b.byID[buildID]
	if !ok || gone.TemplateID == shoal.BaseTemplateID {
		return false
	}
	delete(b.byID, buildID)
	if b.newest[gone.TemplateID] != buildID {
		return true
	}
	delete(b.newest, gone.TemplateID)
	for id, other := range b.byID {
		if other.TemplateID != gone.TemplateID {
			continue
		}
		if have, ok := b.byID[b.newest[other.TemplateID]]; !ok || other.CreatedAt.After(have.CreatedAt) {
			b.newest[other.TemplateID] = id
		}
	}
	return true
}

func (b *builds) get(buildID string) (shoal.Build, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	build, ok := b.byID[buildID]
	return build, ok
}

// present returns the latest build of a template.
func (b *builds) present(templateID string) (shoal.Build, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	build, ok := b.byID[b.newest[templateID]]
	return build, ok
}

func (b *builds) all() []shoal.Build {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.byID))
}

// begin tells that a guest is about to be started from a build. Until done is called, the
// build's files stay.
func (b *builds) begin(buildID string) (build shoal.Build, done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	build, ok := b.byID[buildID]
	if !ok {
		return build, nil, shoal.ErrImageMissing.New("build %s is not on the machine", buildID)
	}
	s := b.starts[buildID]
	if s == nil {
		s = &starts{none: make(chan struct{})}
		b.starts[buildID] = s
	}
	s.underWay++
	return build, func() { b.end(buildID, s) }, nil
}

func (b *builds) end(buildID string, s *starts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.underWay--; s.underWay == 0 {
		delete(b.starts, buildID)
		close(s.none)
	}
}

// awaitUnused waits for the guests that are being started from a build that was dropped.
func (b *builds) awaitUnused(ctx context.Context, buildID string) error {
	b.mu.Lock()
	s := b.starts[buildID]
	b.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case <-s.none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// source finds what sandboxes of a build start from. What it needs stays until done is called.
func (b *builds) source(buildID string) (from guest.Source, done func(), err error) {
	build, done, err := b.begin(buildID)
	if err != nil {
		return guest.Source{}, nil, err
	}
	if from, err = b.sourceOf(build); err != nil {
		done()
		return guest.Source{}, nil, err
	}
	return from, done, nil
}

func (b *builds) sourceOf(build shoal.Build) (guest.Source, error) {
	buildID := build.ID
	if build.Snapshot {
		return b.snapshots.BuildSource(buildID)
	}
	root, err := b.root(build)
	if err != nil {
		return guest.Source{}, shoal.ErrImageMissing.Wrap(err, "a root image of build %s is missing", buildID)
	}
	cold := guest.Source{Root: root, Runtime: build.Runtime}
	if _, c, err := b.snapshots.Get(snapshot.BuildName(buildID)); err != nil || !c.Memory {
		return cold, nil
	}
	warm, err := b.snapshots.Source(snapshot.BuildName(buildID))
	if err != nil {
		return guest.Source{}, err
	}
	warm.Cold, warm.Start = &cold, build.Start
	return warm, nil
}

// root finds the images of a build.
func (b *builds) root(build shoal.Build) (runtime.Root, error) {
	var paths []string
	for _, digest := range build.Images() {
		path, err := b.images.Path(digest)
		if err != nil {
			return "", err
		}
		paths = append(paths, path)
	}
	return runtime.NewRoot(paths...), nil
}
