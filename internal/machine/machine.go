// Package machine assembles what runs sandboxes on this host: the orchestrator and the
// parts that it needs. Locks on the run directory and on the installation's name
// ensure that only one process at a time uses them.
package machine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"shoal/internal/archive"
	"shoal/internal/artifact"
	"shoal/internal/build"
	"shoal/internal/build/engine"
	"shoal/internal/config"
	"shoal/internal/egress"
	"shoal/internal/egress/ledger"
	"shoal/internal/eventlog"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/network"
	"shoal/internal/orchestrator"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/gvisor"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
	"shoal/internal/telemetry/series"
)

// Options are what a machine needs besides the settings.
type Options struct {
	// Version is the version of Shoal that the machine reports to the fleet.
	Version string
	// Kernel and Envd return the programs of the sandbox kernel and of the guest daemon, which are
	// tens of megabytes and seldom needed. None is nil.
	Kernel, Envd func() []byte
	// GuestInit returns the first program of microVMs, Attendant the one that runs beside them.
	GuestInit, Attendant func() []byte
	// Ended, if set, is called with the execution ID of each run of a sandbox that ends.
	Ended func(executionID string)
	// Ending is for a machine that starts no guests and ends those that there are, also those of
	// runtimes that cannot run any more or that the settings do not name.
	Ending bool
}

// Machine runs sandboxes. Call Open, Start and Run, then optionally Teardown, then Close.
type Machine struct {
	cfg     *config.Config
	options Options
	log     *slog.Logger
	locks   locks

	slots     *network.Pool
	egress    *egress.Steward
	ledger    *ledger.Store
	driver    *gvisor.Driver
	microVMs  *firecracker.Driver // nil where none can run
	runtimes  runtime.Set
	shared    *image.Store // base images; the same store as images, or one that it builds on
	images    *image.Store
	artifacts *artifact.Store
	logs      *sandboxlog.Store
	events    *eventlog.Log
	series    *series.Series
	copiers   []*archive.Copier // of logs and samples; of connections too; none without a ClickHouse server
	orch      *orchestrator.Orchestrator

	library *imagelibrary.Library
	engine  *engine.Engine // nil until the base template is ready
}

// Open takes the machine's locks and prepares its parts. It needs root. Sandboxes of earlier
// processes are left alone until Start or Recover.
func Open(cfg *config.Config, o Options, log *slog.Logger) (*Machine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("sandboxes need root: namespaces, links and cgroups are made for each")
	}
	held, err := takeLocks(cfg.RunDir, namesDir, cfg.Instance)
	if err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, options: o, log: log, locks: held}
	if err := m.open(); err != nil {
		held.release()
		return nil, err
	}
	return m, nil
}

// Orchestrator returns the machine's orchestrator.
func (m *Machine) Orchestrator() *orchestrator.Orchestrator { return m.orch }

// Meters returns what counts and measures the machine.
func (m *Machine) Meters() []prometheus.Collector {
	list := slices.Concat(m.orch.Meters(), m.slots.Meters(), m.egress.Meters())
	for _, c := range m.copiers {
		list = append(list, c.Meters()...)
	}
	return list
}

// Engine returns the engine that builds templates on this machine. It is set by Start.
func (m *Machine) Engine() build.Engine { return m.engine }

// Recover takes over the sandboxes whose guests are still running, and removes everything
// else that an earlier process left. What takes long to take over goes on meanwhile.
func (m *Machine) Recover(ctx context.Context) error { return m.orch.Recover(ctx) }

// Start recovers, prepares the base template, which may take minutes, and returns its
// build.
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

// Run runs the machine until ctx ends. Sandboxes keep running after that.
func (m *Machine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	// The pool of slots stops last, because the orchestrator releases slots as it stops.
	slotsCtx, stopSlots := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return m.slots.Run(slotsCtx) })
	g.Go(func() error { return m.egress.Run(slotsCtx) })
	g.Go(func() error {
		defer stopSlots()
		return m.orch.Run(ctx)
	})
	g.Go(func() error { return m.artifacts.Run(ctx) })
	g.Go(func() error { return m.logs.Run(ctx) })
	g.Go(func() error { return m.series.Run(ctx) })
	g.Go(func() error { return m.ledger.Run(ctx) })
	g.Go(func() error { return m.answerFills(ctx) })
	for _, c := range m.copiers {
		g.Go(func() error { return c.Run(ctx) })
	}
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

// Close releases the machine. Sandboxes keep running, and the next process takes them over.
func (m *Machine) Close() {
	if err := m.logs.Close(); err != nil {
		m.log.Warn("could not close the database of sandbox logs", "error", err)
	}
	if err := m.events.Close(); err != nil {
		m.log.Warn("could not close the log of events", "error", err)
	}
	if err := m.series.Close(); err != nil {
		m.log.Warn("could not close the database of what sandboxes use", "error", err)
	}
	if err := m.ledger.Close(); err != nil {
		m.log.Warn("could not close the database of connections", "error", err)
	}
	m.locks.release()
}

// Teardown kills every sandbox and removes everything that Shoal has installed on the
// host, except its data.
func (m *Machine) Teardown(ctx context.Context) error {
	return errors.Join(
		m.orch.KillAll(ctx, shoal.KillDown),
		m.endGuests(ctx),
		m.slots.Teardown(),
		m.egress.Teardown(ctx),
		removeGroup(ctx, egressGroup(m.cfg.Instance)),
		m.closeRuntimes(),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "guests")),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "gvisor")),
		removeName(namesDir, m.cfg.Instance),
	)
}
