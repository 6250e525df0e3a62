package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/config"
)

type downCmd struct{}

// Run ends a running `shoal up` or orchestrator of this run directory, then every
// sandbox, and removes everything that Shoal has put on the host but its data.
func (downCmd) Run(ctx context.Context, cfg *config.Config) error {
	console, log := os.NewFile(uintptr(copyDescriptor(os.Stdout)), "console"), newLogger(cfg)
	if err := stopHolder(ctx, cfg.RunDir); err != nil {
		return err
	}
	m, err := openMachine(cfg, log, nil)
	if err != nil {
		return err
	}
	defer m.close()
	if err := m.orch.Recover(ctx); err != nil {
		return err
	}
	alive := m.alive()
	if err := m.teardown(ctx); err != nil {
		return err
	}
	fmt.Fprintf(console, "ended %d sandbox(es)\n", alive)
	return nil
}

// stopHolder asks the process that holds the lock to end, and waits for it.
func stopHolder(ctx context.Context, runDir string) error {
	lock, err := lockMachine(runDir)
	if err == nil {
		lock.release()
		return nil
	}
	if !errors.Is(err, errLocked) {
		return err
	}
	pid := lockHolder(runDir)
	if pid == 0 {
		return err
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := lockMachine(runDir)
		if err == nil {
			lock.release()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", pid, err)
		case <-tick.C:
		}
	}
}
