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

// openBuilds prepares template builds, and fails those that an earlier process
// of the same name left unfinished.
func openBuilds(ctx context.Context, cfg *config.Config, name string, st *store.Store, engine build.Engine,
	log *slog.Logger) (api.Builds, error) {
	dir := cfg.Builds()
	// Sandbox kernels run as nobody and must be able to traverse the data directory.
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
	queue := build.New(build.QueueConfig{Store: st, Engine: engine, Logs: logs, Files: files,
		Builder: name, Slots: cfg.BuildSlots}, log)
	return api.Builds{Queue: queue, Logs: logs, Files: files}, queue.Recover(ctx)
}

// processName tells this process from others that share the store. A restart keeps it.
func processName(cfg *config.Config) (string, error) {
	host, err := os.Hostname()
	return host + ":" + cfg.DataDir, err
}

// offerShipped sets up the building of shipped templates on first use, in the name of the
// team that owns them. It does nothing if templates are not built here.
func (p *ControlPlane) offerShipped(cfg *config.Config, engine build.Engine) {
	if _, none := engine.(build.NoEngine); none || !cfg.ShippedOnUse {
		return
	}
	p.first = shipped.NewFirstUse(p.api.As(p.team), p.log)
}

// askShipped returns the error for a shipped template that is not built yet, and starts
// its build if that is enabled.
func (p *ControlPlane) askShipped(ctx context.Context, name string) error {
	if p.first == nil {
		return shipped.NotBuilt(ctx, name)
	}
	return p.first.Ask(ctx, name)
}
