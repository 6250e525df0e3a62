package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"shoal/internal/build"
	"shoal/internal/envdapi"
	"shoal/internal/envdapi/client"
	"shoal/internal/image"
	"shoal/internal/shoal"
)

// run is one build in progress. A single goroutine uses it.
type run struct {
	e   *Engine
	job build.Job
	log build.Log

	layers  []string // the images that the steps so far have made, lowest first
	context shoal.BuildContext
	key     key
	forced  bool // nothing is taken from the cache any more

	bench *bench // nil while no step has needed a guest
}

// bench is a guest whose disk holds what the steps have changed over its images.
type bench struct {
	Workbench
	guest    Guest
	lower    []string
	mirrored bool // its package sources are replaced by mirrors
}

// phase is a part of a build whose outcome is cached.
type phase struct {
	step  string   // as in build.Failure
	title string   // its line in the log
	parts []string // what its key is made of
	force bool
	do    func(ctx context.Context, out *lines) error
	// disk means that do may change the disk.
	disk  bool
	debug bool // its output is logged at the debug level
}

// phase carries out a phase, unless its outcome is cached.
func (r *run) phase(ctx context.Context, p phase) error {
	r.key = r.key.next(p.parts...)
	r.forced = r.forced || p.force
	title := fmt.Sprintf("%s [%s]", p.title, r.key[:16])
	if o, ok := r.cached(); ok {
		r.log.Write(build.Info, p.step, "CACHED "+title)
		if !slices.Equal(o.Layers, r.layers) {
			r.closeBench()
		}
		r.layers, r.context = o.Layers, o.Context
		return nil
	}
	r.log.Write(build.Info, p.step, title)
	prefix, _, _ := strings.Cut(p.title, "]")
	out := &lines{log: r.log, level: build.Info, step: p.step, prefix: prefix + "]"}
	if p.debug {
		out.level = build.Debug
	}
	r.context.Env = maps.Clone(r.context.Env) // the old map may be shared
	err := p.do(ctx, out)
	out.end()
	if err != nil {
		if words := out.words(); words != "" {
			r.log.Write(build.Warn, p.step, out.prefix+" it printed last:\n"+words)
		}
		return err
	}
	if p.disk && r.bench != nil {
		if err := r.commit(ctx); err != nil {
			return err
		}
	}
	return r.e.cache.put(r.job.CacheScope, r.key, outcome{Layers: r.layers, Context: r.context})
}

// knows reports whether a phase would be taken from the cache.
func (r *run) knows(p phase) bool {
	if r.forced || p.force {
		return false
	}
	_, ok := r.lookup(r.key.next(p.parts...))
	return ok
}

func (r *run) cached() (outcome, bool) {
	if r.forced {
		return outcome{}, false
	}
	return r.lookup(r.key)
}

func (r *run) lookup(k key) (outcome, bool) {
	return r.e.cache.get(r.job.CacheScope, k, func(digest string) bool {
		_, err := r.e.cfg.Images.Path(digest)
		return err == nil
	})
}

// guest returns a guest in the current state of the build, for a step.
func (r *run) guest(ctx context.Context) (Guest, error) {
	if r.bench == nil {
		if err := r.openBench(ctx); err != nil {
			return nil, err
		}
	}
	return r.bench.guest, r.useMirrors(ctx)
}

func (r *run) openBench(ctx context.Context) error {
	w, err := r.e.cfg.Machine.Open(ctx, r.buildOf(r.layers))
	if err != nil {
		return err
	}
	r.bench = &bench{Workbench: w, guest: w.Guest(), lower: r.layers}
	return nil
}

func (r *run) buildOf(layers []string) shoal.Build {
	return shoal.Build{ID: r.job.BuildID, TemplateID: r.job.TemplateID, Resources: r.job.Resources,
		ImageDigest: layers[0], Layers: layers, Runtime: r.job.Runtime}
}

func (r *run) closeBench() {
	if r.bench == nil {
		return
	}
	if err := r.bench.Close(); err != nil {
		r.e.log.Error("a build's guest could not be removed completely", "build", r.job.BuildID, "error", err)
	}
	r.bench = nil
}

// largeLayer is the size, in bytes, from which on a layer is not written again with every
// step that follows; the next step gets a new guest on top of it.
const largeLayer = 32 << 20

// commit makes an image of everything that the guest's disk has over its images.
func (r *run) commit(ctx context.Context) error {
	if err := r.leaveMirrors(ctx); err != nil {
		return err
	}
	prepared, err := r.bench.guest.Prepare(ctx)
	if err != nil {
		return r.failed(ctx, "failed to prepare what the step has installed", err)
	}
	f, err := os.CreateTemp(filepath.Join(r.e.cfg.Dir, "work"), r.job.BuildID+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := r.bench.Disk(ctx, f); err != nil {
		return fmt.Errorf("read what the step has changed: %w", err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	tree, err := image.FromTar(f)
	if err != nil {
		return err
	}
	// Runtime state is not part of a template, except what a boot would begin with.
	tree.Keep("run", prepared)
	if tree.Holds("etc/machine-id", envdapi.MachineID(r.job.TemplateID)+"\n") {
		tree.Remove("etc/machine-id") // each sandbox has its own
	}
	tree.Share(image.SharedDir)
	var below []string
	for _, digest := range r.bench.lower {
		path, err := r.e.cfg.Images.Path(digest)
		if err != nil {
			return err
		}
		below = append(below, path)
	}
	if err := tree.Rest(below...); err != nil {
		return err
	}
	r.layers = r.bench.lower
	if tree.Empty() {
		return nil
	}
	digest, size, err := r.e.cfg.Images.Put(tree)
	if err != nil {
		return err
	}
	r.layers = append(slices.Clone(r.bench.lower), digest)
	if size > largeLayer {
		r.closeBench()
	}
	return nil
}

// runScript runs one of the engine's own scripts as root.
func (r *run) runScript(ctx context.Context, name string, args ...string) (string, error) {
	guest, err := r.guest(ctx)
	if err != nil {
		return "", err
	}
	return guest.Text(ctx, client.Command{User: "root", Dir: "/", Env: r.e.stepEnv(r.context),
		Args: append([]string{"/bin/sh", "-c", script(name), name}, args...)})
}

// runLogged is runScript for a script that prints much.
func (r *run) runLogged(ctx context.Context, name string, out *lines, args ...string) error {
	guest, err := r.guest(ctx)
	if err != nil {
		return err
	}
	return guest.Run(ctx, client.Command{User: "root", Dir: "/", Env: r.e.stepEnv(r.context),
		Args: append([]string{"/bin/sh", "-c", script(name), name}, args...)}, nil, out.take)
}
