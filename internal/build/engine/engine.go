// Package engine makes templates' images: it runs the steps of a build in guests,
// keeps what each has changed as an image over those before it, and starts what the
// template wants running.
package engine

import (
	"context"
	"embed"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"shoal/internal/build"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/registry"
	"shoal/internal/shoal"
)

//go:embed scripts
var scripts embed.FS

// script is the named program with the functions that all use.
func script(name string) string {
	lib, err := scripts.ReadFile("scripts/lib.sh")
	if err != nil {
		panic(err) // it is in the binary
	}
	body, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err)
	}
	return string(lib) + string(body)
}

// Config is what an engine stands on.
type Config struct {
	Machine Machine
	Images  *image.Store
	Library *imagelibrary.Library
	// Registries is swept of layers that no build needs any more.
	Registries *registry.Client
	Files      *build.Files
	// Dir keeps the layer cache.
	Dir string
	// Base is the build of the base template, which stands for the image that SDKs
	// name when the user names none.
	Base shoal.Build
	// Provision is what every image gets, to be a guest's root (image.Provision).
	Provision image.Provision
	// Env is in the environment of every step, unless the template sets the same
	// names: mirrors and proxies, for example.
	Env map[string]string
	// Mirrors are URLs of package sources, and those that steps read in their place.
	Mirrors map[string]string
	// CacheSize bounds the images that only cached layers need, in bytes; 0 is no bound.
	CacheSize int64
}

// Engine runs builds on this machine.
type Engine struct {
	cfg   Config
	cache *Cache
	log   *slog.Logger
}

var _ build.Engine = (*Engine)(nil)

// New makes an engine; what an earlier process left unfinished is removed.
func New(cfg Config, log *slog.Logger) (*Engine, error) {
	cache, err := OpenCache(filepath.Join(cfg.Dir, "cache"))
	if err != nil {
		return nil, err
	}
	work := filepath.Join(cfg.Dir, "work")
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	return &Engine{cfg: cfg, cache: cache, log: log}, os.MkdirAll(work, 0o700)
}

// Pinned are the images that cached layers need.
func (e *Engine) Pinned() ([]string, error) { return e.cache.images() }

// Build carries a job out.
func (e *Engine) Build(ctx context.Context, job build.Job, log build.Log) (build.Result, error) {
	r := &run{e: e, job: job, log: log, forced: job.Force}
	defer r.closeBench()
	if err := r.base(ctx); err != nil {
		return build.Result{}, r.blame(ctx, build.StepBase, err)
	}
	for i, step := range job.Steps {
		if err := r.step(ctx, i, step); err != nil {
			return build.Result{}, r.blame(ctx, build.StepNumber(i), err)
		}
	}
	result, err := r.finalize(ctx)
	if err != nil {
		return build.Result{}, r.blame(ctx, build.StepFinalize, err)
	}
	return result, nil
}

// forget is how long a layer stays that no build has asked for.
const forget = 14 * 24 * time.Hour

// sizeOf is what a cached image takes, in bytes; the base template's is there anyway.
func (e *Engine) sizeOf(digest string) int64 {
	if digest == e.cfg.Base.ImageDigest {
		return 0
	}
	path, err := e.cfg.Images.Path(digest)
	if err != nil {
		return 0
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Run forgets cached layers that are not asked for any more, or that are too many, until
// ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		since := time.Now().Add(-forget)
		if err := errors.Join(e.cache.sweep(since), e.cache.bound(e.cfg.CacheSize, e.sizeOf), e.cfg.Registries.Sweep(since)); err != nil {
			e.log.Warn("old layers of builds are left", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
