package main

import (
	"context"
	"fmt"

	"shoal/internal/config"
	"shoal/internal/machine"
)

type downCmd struct{}

// Run ends a running `shoal up` or orchestrator of this run directory, then every
// sandbox, and removes everything that Shoal has put on the host but its data.
func (downCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := openConsole(cfg)
	if err := machine.StopHolder(ctx, cfg.RunDir); err != nil {
		return err
	}
	m, err := openMachine(cfg, log, nil)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Recover(ctx); err != nil {
		return err
	}
	running := m.Running()
	if err := m.Teardown(ctx); err != nil {
		return err
	}
	fmt.Fprintf(console, "ended %d sandbox(es)\n", running)
	return nil
}
