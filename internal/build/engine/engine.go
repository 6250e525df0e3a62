// Package engine makes the images of templates: it runs the steps of a build in guests,
// keeps what each step has changed as an image over those before it, and starts what the
// template wants to have running.
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

// script returns the named program, preceded by the functions that all of them share.
func script(name string) string {
	lib, err := scripts.ReadFile("scripts/lib.sh")
	if err != nil {
		panic(err) // it is embedded, so this cannot fail
	}
	body, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic(err)
	}
	return string(lib) + string(body)
}

// Config is what an engine needs.
type Config struct {
	Machine Machine
	Images  *image.Store
	Library *imagelibrary.Library
	// Registries is swept of layers that no build needs any more.
	Registries *registry.Client
	Files      *build.Files
	// Dir is where the layer cache is kept.
	Dir string
	// Base is the build of the base template. It stands for the image that SDKs name when
	// the user names none.
	Base shoal.Build
	// Provision is laid over every image to make it a guest's root (image.Provision).
	Provision image.Provision
	// Env is added to the environment of every step, for mirrors and proxies, for example.
	// Names that the template sets have priority.
	Env map[string]string
	// Mirrors maps URLs of package sources to the mirrors that steps read instead.
	Mirrors map[string]string
	// CacheSize bounds the images that only cached layers need, in bytes; 0 means no bound.
	CacheSize int64
}

// Engine runs builds on this machine.
type Engine struct {
	cfg   Config
	cache *Cache
	log   *slog.Logger
}

var _ build.Engine = (*Engine)(nil)

// New returns an engine, and removes what an earlier process left unfinished.
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

// Pinned returns the digests of images that cached layers need.
func (e *Engine) Pinned() ([]string, error) { return e.cache.images() }

// Build carries out a job.
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

// forget is how long an unused layer is kept.
const forget = 14 * 24 * time.Hour

// sizeOf is the size of a cached image in bytes, or 0 for the base template's, which exists
// anyway.
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

// Run removes cached layers that are no longer used, or that are too many, until ctx is
// done.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		since := time.Now().Add(-forget)
		if err := errors.Join(e.cache.sweep(since), e.cache.bound(e.cfg.CacheSize, e.sizeOf),
			e.cfg.Registries.Sweep(since)); err != nil {
			e.log.Warn("old layers of builds could not be removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
