package main

import (
	"context"
	"fmt"

	"shoal/internal/config"
	"shoal/internal/machine"
)

type downCmd struct{}

// Run stops the `shoal up` or orchestrator that uses this run directory, kills every
// sandbox, and removes everything that Shoal has installed on the host, except its data.
func (downCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := openConsole(cfg)
	if err := machine.StopHolder(ctx, cfg.RunDir); err != nil {
		return err
	}
	m, err := openLeftMachine(cfg, log)
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
