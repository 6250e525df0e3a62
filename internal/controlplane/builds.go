package controlplane

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"shoal/internal/api"
	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/shipped"
	"shoal/internal/store"
)

// openBuilds prepares template builds, and ends those that the last process of
// this data directory left.
func openBuilds(ctx context.Context, cfg *config.Config, st *store.Store, engine build.Engine, log *slog.Logger) (api.Builds, error) {
	dir := cfg.Builds()
	// The data directory itself is passed by sandbox kernels, which run as nobody.
	err := errors.Join(os.MkdirAll(cfg.DataDir, 0o711), os.MkdirAll(dir, 0o700))
	if err != nil {
		return api.Builds{}, err
	}
	logs, err := build.OpenLogs(filepath.Join(dir, "logs"))
	if err != nil {
		return api.Builds{}, err
	}
	files, err := build.OpenFiles(cfg.Uploads())
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
func (p *ControlPlane) offerShipped(cfg *config.Config, engine build.Engine) {
	if _, none := engine.(build.NoEngine); none || !cfg.ShippedOnUse {
		return
	}
	p.first = shipped.NewFirstUse(p.api.As(p.team), p.log)
}

// askShipped answers for a template that has no build.
func (p *ControlPlane) askShipped(ctx context.Context, name string) error {
	if p.first == nil {
		return shipped.NotBuilt(ctx, name)
	}
	return p.first.Ask(ctx, name)
}
