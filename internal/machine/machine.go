// Package machine is what runs sandboxes on this host: the orchestrator and everything
// that it stands on. One process has a machine at a time, by a lock on its run directory.
package machine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/build"
	"shoal/internal/build/engine"
	"shoal/internal/config"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/network"
	"shoal/internal/orchestrator"
	"shoal/internal/runtime/gvisor"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// Options are what a machine is given besides the settings.
type Options struct {
	// Version of Shoal, as the machine tells it to the fleet.
	Version string
	// Kernel and Envd are the programs of the sandbox kernel and of the guest daemon.
	Kernel, Envd []byte
	// Ended, if set, hears of each run of a sandbox that ends, by its execution ID.
	Ended func(executionID string)
}

// Machine runs sandboxes. Its life is Open, Start, Run, then Close or Teardown and Close.
type Machine struct {
	cfg     *config.Config
	options Options
	log     *slog.Logger
	lock    *lock

	slots     *network.Pool
	driver    *gvisor.Driver
	shared    *image.Store // of base images; the same as images, or under it
	images    *image.Store
	artifacts *artifact.Store
	logs      *sandboxlog.Store
	orch      *orchestrator.Orchestrator

	library *imagelibrary.Library
	engine  *engine.Engine // nil until the base template is there
}

// Open takes the machine's lock and prepares its parts. It needs root. No sandbox is
// touched before Start or Recover.
func Open(cfg *config.Config, o Options, log *slog.Logger) (*Machine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("sandboxes need root: namespaces, links and cgroups are made for each")
	}
	held, err := takeLock(cfg.RunDir)
	if err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, options: o, log: log, lock: held}
	if err := m.open(); err != nil {
		held.release()
		return nil, err
	}
	return m, nil
}

// Orchestrator is the machine's own, to be asked and to be served.
func (m *Machine) Orchestrator() *orchestrator.Orchestrator { return m.orch }

// Engine makes templates on this machine, after Start.
func (m *Machine) Engine() build.Engine { return m.engine }

// Recover takes over the sandboxes whose guests still run, and removes what else the last
// process left.
func (m *Machine) Recover(ctx context.Context) error { return m.orch.Recover(ctx) }

// Start recovers, makes sure that the base template is there, which may take minutes, and
// offers it. It returns its build.
func (m *Machine) Start(ctx context.Context, progress func(image.Progress)) (shoal.Build, error) {
	if err := m.Recover(ctx); err != nil {
		return shoal.Build{}, err
	}
	base, err := m.offerBase(ctx, progress)
	if err != nil {
		return shoal.Build{}, err
	}
	return base, m.openEngine(base)
}

// Run holds the machine until ctx ends. Sandboxes go on after it.
func (m *Machine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The slots end last: the orchestrator gives back some as it ends.
	slotsCtx, stopSlots := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return m.slots.Run(slotsCtx) })
	g.Go(func() error {
		defer stopSlots()
		return m.orch.Run(ctx)
	})
	g.Go(func() error { return m.artifacts.Run(ctx) })
	g.Go(func() error { return m.logs.Run(ctx) })
	if m.engine != nil {
		g.Go(func() error { return m.engine.Run(ctx) })
	}
	return g.Wait()
}

// Running counts the sandboxes that are not paused.
func (m *Machine) Running() (n int) {
	list, err := m.orch.List(context.Background())
	if err != nil {
		return 0
	}
	for _, sb := range list {
		if sb.State != shoal.StatePaused {
			n++
		}
	}
	return n
}

// Close leaves sandboxes running, for the next process to take over.
func (m *Machine) Close() {
	if err := m.logs.Close(); err != nil {
		m.log.Warn("the sandboxes' logs were not closed", "error", err)
	}
	m.lock.release()
}

// Teardown ends every sandbox and removes everything that Shoal has put on the host but
// its data.
func (m *Machine) Teardown(ctx context.Context) error {
	none := func(string) bool { return false }
	return errors.Join(
		m.orch.KillAll(ctx, shoal.KillDown),
		m.driver.Reclaim(ctx, none),
		m.slots.Teardown(),
		m.driver.Close(),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "guests")),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "gvisor")),
	)
}
