// Package orchestrator runs the sandboxes of one machine: it owns the truth
// about each of them, keeps it in a record that is written before the act it
// describes, and holds every deadline.
package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	goruntime "runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/egress/ledger"
	"shoal/internal/eventlog"
	"shoal/internal/guest"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
	"shoal/internal/telemetry/sandboxlog"
	"shoal/internal/telemetry/series"
)

// Config configures one machine's orchestrator.
type Config struct {
	NodeID  string
	Version string
	// DataDir keeps the records of paused sandboxes, and writable layers; RunDir, on
	// tmpfs, every record and the runtime's files of running guests.
	DataDir string
	RunDir  string
	// Pinned are images that must stay although no build, snapshot or sandbox needs them,
	// such as those of cached layers; nil is none.
	Pinned func() ([]string, error)
	// MaxProcesses bounds processes and threads inside each guest.
	MaxProcesses int
	// MaxSandboxes bounds the guests alive at once on this machine.
	MaxSandboxes int
	// Overcommit bounds what is promised to running sandboxes together.
	Overcommit Overcommit
	// EnvdTimeout bounds the wait for a started guest's daemon.
	EnvdTimeout time.Duration
	// RestTime is how long a paused sandbox's guest is kept frozen in memory, so
	// that a resume soon after is instant. 0 is never.
	RestTime time.Duration
	// WarmMin is how many guests are kept started ahead, by template ID; WarmMax
	// bounds them together with those that recent demand asks for. 0 is none.
	WarmMin map[string]int
	WarmMax int
	// Shells is how many sandbox kernels are kept started ahead, without a guest,
	// for each root image that is in use. 0 is none.
	Shells int
	// GuestEnv is in every sandbox's environment unless the client sets the same
	// names.
	GuestEnv map[string]string
	// VolumeDir returns where the content of a volume is, or why it cannot be had; nil has none.
	VolumeDir func(backend, teamID, volumeID string) (string, error)
	// VolumeCounters is the directory of files that count what is written to volumes.
	VolumeCounters string
	// Ended is called after a guest of this execution has ended; may be nil.
	Ended func(executionID string)
	// Logs keeps the sandboxes' logs; nil keeps none.
	Logs *sandboxlog.Store
	// Events keeps the sandboxes' events until an api has taken them; nil tells none.
	Events *eventlog.Log
	// Ledger keeps what became of connections; nil keeps nothing.
	Ledger *ledger.Store
	// Series keeps what the sandboxes use; nil keeps nothing.
	Series *series.Series
	// Memory is what can be had of the machine's memory, and all of it, in bytes; nil
	// asks the machine.
	Memory func() (available, total int64, err error)
	// Disk is what is free where DataDir is, and all of it, in bytes; nil asks the machine.
	Disk func() (free, total int64, err error)
}

// Orchestrator implements shoal.Node.
//
// Lock order: table.mu, or sandbox.telling, before sandbox.recording before sandbox.mu;
// builds.mu and the pools' are leaves. None is held during a call into a
// runtime, the network or a guest.
type Orchestrator struct {
	cfg       *Config
	log       *slog.Logger
	table     *table
	builds    *builds
	records   *records
	outbox    *outbox
	snapshots *snapshot.Store
	host      *guest.Host
	guests    *guests
	pauses    *pauses
	keeper    *keeper
	relief    *relief
	sampler   *sampler
	history
	meters  *meters
	journal journal
	tasks   *tasks
	load    load
	wakers  wakers
	*switches
	*fillers

	// wake tells the deadline loop that the nearest deadline may have changed.
	wake chan struct{}
	// collecting has one entry during a collection of garbage.
	collecting chan struct{}
}

var _ shoal.Node = (*Orchestrator)(nil)

// New makes an orchestrator. The first of the runtimes is that of guests that ask for none.
// Recover must be called before anything else.
func New(
	cfg Config, runtimes runtime.Set, slots guest.Slots, images Images, artifacts *artifact.Store,
	log *slog.Logger,
) *Orchestrator {
	if cfg.Memory == nil {
		cfg.Memory = runtime.HostMemory
	}
	if cfg.Disk == nil {
		cfg.Disk = func() (free, total int64, err error) { return artifact.Space(cfg.DataDir) }
	}
	o := &Orchestrator{cfg: &cfg, log: log, journal: journal{cfg.Logs}, tasks: newTasks(),
		wake: make(chan struct{}, 1), collecting: make(chan struct{}, 1)}
	o.fillers = &fillers{stopped: o.tasks.stopped}
	o.switches = newSwitches(filepath.Join(cfg.DataDir, "switches.json"))
	o.table = newTable(&cfg)
	o.records = newRecords(&cfg, log)
	o.outbox = newOutbox(&cfg, o.table, o.records, log)
	o.snapshots = snapshot.NewStore(artifacts)
	o.builds = newBuilds(&cfg, images, o.snapshots)
	o.host = guest.NewHost(guest.Config{
		Dir: filepath.Join(cfg.RunDir, "guests"), UpperDir: filepath.Join(cfg.DataDir, "upper"),
		MaxProcesses: cfg.MaxProcesses, DaemonTimeout: cfg.EnvdTimeout,
	}, runtimes, slots)
	o.keeper = newKeeper(&cfg, o.host, o.builds, o.table, log)
	o.guests = &guests{cfg: &cfg, log: log, host: o.host, builds: o.builds, records: o.records,
		snapshots: o.snapshots, keeper: o.keeper, claims: newTurns(), watch: o.watch}
	o.pauses = &pauses{cfg: &cfg, log: log, table: o.table, records: o.records,
		snapshots: o.snapshots, guests: o.guests, tasks: o.tasks}
	o.meters = newMeters()
	o.sampler = &sampler{table: o.table, series: cfg.Series, meters: o.meters, log: log}
	o.history = history{series: cfg.Series, ledger: cfg.Ledger, tally: newTally(cfg.NodeID)}
	o.keeper.isBusy = func() bool { return o.load.starting.Load() > 0 || o.snapshots.Saving() > 0 }
	o.relief = newRelief(o)
	return o
}

// AddBuild makes a template build startable on this machine.
func (o *Orchestrator) AddBuild(b shoal.Build) { o.builds.add(b, 0) }

// Run holds deadlines and samples metrics until ctx ends, then waits for what
// is in flight. Sandboxes live on.
func (o *Orchestrator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.holdDeadlines(ctx) })
	g.Go(func() error { return o.sampler.Run(ctx) })
	g.Go(func() error { return o.tally.run(ctx, o.table) })
	g.Go(func() error { return o.keeper.Run(ctx) })
	g.Go(func() error { return o.relief.Run(ctx) })
	g.Go(func() error { return o.outbox.Run(ctx) })
	g.Go(func() error { return keepDiskFree(ctx, o.snapshots.Artifacts(), o.log) })
	g.Go(func() error { return adopter{o}.adoptLeft(ctx) })
	g.Go(func() error { return o.host.ShareProcessors(ctx, o.log) })
	err := g.Wait()
	o.table.drain()
	o.tasks.stop()
	o.pauses.sealing.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Info describes the machine.
func (o *Orchestrator) Info(ctx context.Context) (shoal.NodeInfo, error) {
	_, memory, err := o.cfg.Memory()
	if err != nil {
		return shoal.NodeInfo{}, fmt.Errorf("describe the machine: %w", err)
	}
	info := shoal.NodeInfo{
		ID: o.cfg.NodeID, Version: o.cfg.Version, Status: shoal.NodeReady,
		CPUCount: goruntime.NumCPU(), MemoryTotal: memory,
		Sandboxes: o.table.alive(), Starting: int(o.load.starting.Load()),
		CreateOK: o.load.created.Load(), CreateFail: o.load.failed.Load(),
		Runtimes: o.host.Runtimes().Names(), Builds: o.builds.all(),
	}
	if o.table.isDraining() {
		info.Status = shoal.NodeDraining
	}
	return info, nil
}

// HealthHandler answers GET /health of the RPC port as the reference node does.
func (o *Orchestrator) HealthHandler() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := "healthy"
		if o.table.isDraining() {
			status = "draining"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"status\":%q,\"version\":%q}\n", status, o.cfg.Version)
	}
}
