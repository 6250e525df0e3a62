package main

import (
	"context"
	"fmt"
	"log/slog"

	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/fleet"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/retention"
	"shoal/internal/shoal"
)

type gcCmd struct{}

// Run removes from every machine the builds that failed, were deleted or are unknown to the
// store; the snapshots of pauses that no sandbox has; the images that no build, snapshot,
// sandbox, cached layer or import needs; and the sandbox kernels that nothing needs, except the
// present one. What is younger than ten minutes stays, but for kernels. internal/retention
// asks, internal/orchestrator/garbage.go removes. A running api role does the same
// periodically, and retires builds without a tag besides.
func (gcCmd) Run(ctx context.Context, cfg *config.Config) error {
	secrets, err := cfg.LoadSecrets(shoal.DevTokenSeed)
	if err != nil {
		return err
	}
	if len(cfg.Nodes) == 0 {
		cfg.Nodes = []string{config.Reachable(cfg.NodeListen)}
	}
	nodes, err := rpc.NewClients(cfg.Nodes, secrets.NodeSecret)
	if err != nil {
		return err
	}
	st, err := controlplane.OpenStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer st.Close()
	c, err := retention.Collect(ctx, st, fleet.New(fleet.Config{Nodes: nodes}, slog.New(slog.DiscardHandler)))
	if err == nil || c != (shoal.Collected{}) { // a machine that met an error does not say what it removed
		fmt.Printf("removed %d build(s), %d snapshot(s), %d image(s), %d kernel(s): %d MiB\n",
			c.Builds, c.Snapshots, c.Images, c.Kernels, c.Bytes>>20)
	}
	return err
}
