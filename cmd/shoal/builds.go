package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"shoal/internal/api"
	"shoal/internal/build"
	"shoal/internal/build/engine"
	"shoal/internal/config"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/registry"
	"shoal/internal/shipped"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

// openEngine prepares template builds on this machine, on top of the base template.
func (m *machine) openEngine(base shoal.Build) (build.Engine, error) {
	names, standIns := m.cfg.StandIns, map[string]imagelibrary.Image{}
	if len(names) == 0 && m.cfg.Dev {
		names = []string{"ubuntu", "debian", "python", "node"}
	}
	for _, name := range names {
		standIns[name] = imagelibrary.Image{Name: base.TemplateID, Digest: base.ImageDigest}
	}
	registries, err := registry.NewClient(registry.Config{Dir: filepath.Join(libraryDir(m.cfg), "blobs"),
		Mirrors: m.cfg.RegistryMirrors, CAFiles: m.certificateAuthorities()})
	if err != nil {
		return nil, err
	}
	library, err := imagelibrary.Open(imagelibrary.Config{Images: m.images, Dir: libraryDir(m.cfg), Registries: registries, StandIns: standIns})
	if err != nil {
		return nil, err
	}
	files, err := build.OpenFiles(filesDir(m.cfg))
	if err != nil {
		return nil, err
	}
	daemon, err := assets.ReadFile("assets/envd")
	if err != nil {
		return nil, err
	}
	e, err := engine.New(engine.Config{Machine: workshop{m.orch.Workshop()}, Images: m.images, Library: library, Registries: registries, Files: files,
		Dir: filepath.Join(m.cfg.DataDir, "builds"), Base: base, Env: m.cfg.BuildEnv,
		Mirrors: m.cfg.PackageMirrors, CacheSize: m.cfg.LayerCache << 20,
		Provision: image.Provision{Envd: daemon, CAFiles: m.certificateAuthorities()}}, m.log)
	if err != nil {
		return nil, err
	}
	m.library, m.engine = library, e
	return e, nil
}

func libraryDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "library") }

// pinned are the images that builds need, now or to begin with.
func (m *machine) pinned() ([]string, error) {
	if m.engine == nil {
		return nil, errors.New("it is not known yet which images builds need")
	}
	list, err := m.engine.Pinned()
	if err != nil {
		return nil, err
	}
	imported, err := m.library.List()
	for _, i := range imported {
		list = append(list, i.Digest)
	}
	return list, err
}

func filesDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "builds", "files") }

// openBuilds prepares template builds, and ends those that the last process of
// this data directory left.
func openBuilds(ctx context.Context, cfg *config.Config, st *store.Store, engine build.Engine, log *slog.Logger) (api.Builds, error) {
	dir := filepath.Join(cfg.DataDir, "builds")
	// The data directory itself is passed by sandbox kernels, which run as nobody.
	err := errors.Join(os.MkdirAll(cfg.DataDir, 0o711), os.MkdirAll(dir, 0o700))
	if err != nil {
		return api.Builds{}, err
	}
	logs, err := build.OpenLogs(filepath.Join(dir, "logs"))
	if err != nil {
		return api.Builds{}, err
	}
	files, err := build.OpenFiles(filesDir(cfg))
	if err != nil {
		return api.Builds{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		return api.Builds{}, err
	}
	queue := build.New(build.QueueConfig{Store: st, Engine: engine, Logs: logs, Files: files,
		Builder: host + ":" + cfg.DataDir, Slots: cfg.BuildSlots}, log)
	return api.Builds{Queue: queue, Logs: logs, Files: files}, queue.Recover(ctx)
}

// offerShipped lets the shipped templates be built when they are first asked for, as
// the team that owns them, if templates are built here.
func (p *controlPlane) offerShipped(ctx context.Context, cfg *config.Config, engine build.Engine) error {
	if _, none := engine.(build.NoEngine); none || !cfg.ShippedOnUse {
		return nil
	}
	team, err := p.store.Team(ctx, p.team)
	if err != nil {
		return fmt.Errorf("find the team of the shipped templates: %w", err)
	}
	p.first = shipped.NewFirstUse(p.api.As(team), p.log)
	return nil
}

// askShipped answers for a template that has no build.
func (p *controlPlane) askShipped(ctx context.Context, name string) error {
	if p.first == nil {
		return shipped.NotBuilt(ctx, name)
	}
	return p.first.Ask(ctx, name)
}
