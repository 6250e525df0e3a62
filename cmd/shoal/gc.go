package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"shoal/internal/config"
	"shoal/internal/fleet"
	"shoal/internal/shoal"
	"shoal/internal/store"
)

type gcCmd struct{}

// Run removes on every machine what nothing refers to: what runs does the same by
// itself from time to time.
func (gcCmd) Run(ctx context.Context, cfg *config.Config) error {
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	if len(cfg.Nodes) == 0 {
		cfg.Nodes = []string{reachable(cfg.NodeListen)}
	}
	nodes, err := remoteNodes(cfg, secrets)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	c, err := collect(ctx, st, fleet.New(fleet.Config{Nodes: nodes}, slog.New(slog.DiscardHandler)))
	fmt.Printf("removed %d build(s), %d snapshot(s), %d image(s), %d kernel(s): %d MiB\n", c.Builds, c.Snapshots, c.Images, c.Kernels, c.Bytes>>20)
	return err
}

func collect(ctx context.Context, st *store.Store, machines *fleet.Fleet) (shoal.Collected, error) {
	known, err := st.BuildIDs(ctx)
	if err != nil {
		return shoal.Collected{}, err
	}
	return machines.Collect(ctx, known)
}

// collectPeriod is how often what nothing refers to is removed.
const collectPeriod = 20 * time.Minute

// collectAlways does so until ctx ends.
func (p *controlPlane) collectAlways(ctx context.Context) error {
	tick := time.NewTicker(collectPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.retireBuilds(ctx); err != nil && !errors.Is(err, context.Canceled) {
			p.log.Warn("earlier builds of templates could not be given up", "error", err)
		}
		if _, err := collect(ctx, p.store, p.fleet); err != nil && !errors.Is(err, context.Canceled) {
			p.log.Warn("not everything that nothing refers to could be removed", "error", err)
		}
	}
}

// retireBuilds gives up builds that no tag leads to any more and no sandbox uses, so
// that rebuilding a template does not keep every earlier memory of it.
func (p *controlPlane) retireBuilds(ctx context.Context) error {
	if p.untagged == 0 {
		return nil
	}
	ids, err := p.store.Untagged(ctx, time.Now().Add(-p.untagged))
	if err != nil || len(ids) == 0 {
		return err
	}
	sandboxes, err := p.fleet.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, sb := range sandboxes {
		used[sb.BuildID] = true
	}
	for _, id := range ids {
		if used[id] {
			continue
		}
		reason := fmt.Sprintf("No tag has led to this build for %s, so it was removed. Build the template again.", p.untagged)
		if err := p.store.RetireBuild(ctx, id, reason, time.Now()); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		p.log.Info("a build that no tag leads to is given up", "build", id)
	}
	return nil
}
