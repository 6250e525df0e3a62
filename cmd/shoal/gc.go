package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"shoal/internal/artifact"
	"shoal/internal/config"
	"shoal/internal/controlplane"
	"shoal/internal/fleet"
	"shoal/internal/orchestrator/rpc"
	"shoal/internal/retention"
	"shoal/internal/shoal"
)

type gcCmd struct {
	Adopt      bool `help:"Believe the database, and mark the machines' snapshots as its own, although they are another installation's or most are unknown to it."`
	EmptyTrash bool `help:"Remove what is in the trash now."`
}

// Run puts into every machine's trash the builds that failed, were deleted or are unknown to
// the store, and the snapshots of pauses that no sandbox has. It removes what has been there
// for three days; the images that no build, snapshot, sandbox, cached layer or import needs;
// and the sandbox kernels that nothing needs, except the present one. What is younger than ten
// minutes stays, but for kernels. internal/retention asks, internal/orchestrator/garbage.go
// removes. A running api role does the same periodically, and retires builds without a tag
// besides.
func (g gcCmd) Run(ctx context.Context, cfg *config.Config) error {
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
	c, err := retention.Collect(ctx, st, fleet.New(fleet.Config{Nodes: nodes}, slog.New(slog.DiscardHandler)),
		shoal.CollectOptions{Adopt: g.Adopt, EmptyTrash: g.EmptyTrash})
	if err == nil || c != (shoal.Collected{}) { // a machine that met an error does not say what it removed
		printCollected(os.Stdout, c)
	}
	return err
}

func printCollected(w io.Writer, c shoal.Collected) {
	if c.Restored > 0 {
		fmt.Fprintf(w, "brought %d back from the trash\n", c.Restored)
	}
	fmt.Fprintf(w, "put %d build(s), %d snapshot(s) into the trash: %d MiB\n", c.Builds, c.Snapshots, c.Trashed>>20)
	fmt.Fprintf(w, "removed %d from the trash, %d image(s), %d kernel(s): %d MiB\n",
		c.Emptied, c.Images, c.Kernels, c.Freed>>20)
	if c.InTrash > 0 {
		fmt.Fprintf(w, "in the trash: %d, %d MiB; each stays for %d hours, or until the disk is needed\n",
			c.InTrash, c.InTrashBytes>>20, artifact.TrashTime/time.Hour)
	}
}
