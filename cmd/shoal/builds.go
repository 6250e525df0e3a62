package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"shoal/internal/api"
	"shoal/internal/build"
	"shoal/internal/config"
	"shoal/internal/store"
)

// newEngine returns what makes the images of template builds. A process without a
// machine (nil) has nowhere to make them.
func newEngine(*machine) build.Engine { return build.NoEngine{} }

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
	files, err := build.OpenFiles(filepath.Join(dir, "files"))
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
