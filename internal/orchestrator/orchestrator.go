// Package orchestrator runs the sandboxes of one machine: it owns the truth
// about each of them, keeps it in a record on local disk that is written before
// the act it describes, and holds every deadline.
package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/network"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

// Slots is what the orchestrator needs of the network pool.
type Slots interface {
	Acquire(ctx context.Context) (*network.Slot, error)
	Release(slot *network.Slot)
	Adopt(index int) (*network.Slot, error)
	Reclaim(inUse func(index int) bool) error
}

var _ Slots = (*network.Pool)(nil)

// Images is what the orchestrator needs of the image store.
type Images interface {
	// Path returns the root image of a digest, or an error if it is not here.
	Path(digest string) (string, error)
	// List returns the digests of all images here.
	List() ([]string, error)
	Remove(digest string) error
}

// Config configures one machine's orchestrator.
type Config struct {
	NodeID  string
	Version string
	// DataDir keeps the records of paused sandboxes, and writable layers; RunDir, on
	// tmpfs, every record and the runtime's files of running guests.
	DataDir string
	RunDir  string
	// KernelDir has the sandbox kernels, each in a directory named as the runtime
	// names it; those that nothing needs are removed. Empty keeps them.
	KernelDir string
	// Pinned are images that must stay although no build or sandbox needs them; nil is
	// none.
	Pinned func() ([]string, error)
	// MaxProcesses bounds processes and threads inside each guest.
	MaxProcesses int
	// MaxSandboxes bounds the guests alive at once on this machine.
	MaxSandboxes int
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
	// Ended is called after a guest of this execution has ended; may be nil.
	Ended func(executionID string)
	// Logs keeps the sandboxes' logs; nil keeps none.
	Logs *sandboxlog.Store
	// Memory is what can be had of the machine's memory, and all of it, in bytes; nil
	// asks the machine.
	Memory func() (available, total int64, err error)
}

// Orchestrator implements shoal.Node.
//
// Lock order: Orchestrator.mu before sandbox.policing before sandbox.recording before
// sandbox.mu. None but policing is held during a call into the runtime, the network or
// a guest.
type Orchestrator struct {
	cfg       Config
	log       *slog.Logger
	runtime   runtime.Runtime
	slots     Slots
	images    Images
	artifacts *artifact.Store

	mu        sync.Mutex
	sandboxes map[string]*sandbox
	builds    map[string]shoal.Build // by build ID; what this machine can start
	newest    map[string]string      // by template ID: the latest of builds
	draining  bool

	warm       *warmPool
	claims     turns
	shells     *shellPool
	taken      chan struct{}  // something started ahead was taken
	openEgress network.Egress // of a sandbox that asks for no restriction

	// wake tells the deadline loop that the nearest deadline may have changed.
	wake chan struct{}
	// background owns the guests' watchers and the kills that nobody waits for.
	// Watchers end with their guest or when stopped is closed.
	background sync.WaitGroup
	stopped    chan struct{}
	sealing    sync.WaitGroup // snapshots of an earlier process on their way to the disk

	starting             atomic.Int64 // creates and resumes under way
	saving               atomic.Int64 // checkpoints under way
	createOK, createFail atomic.Int64
}

var _ shoal.Node = (*Orchestrator)(nil)

// New makes an orchestrator. Recover must be called before anything else.
func New(cfg Config, rt runtime.Runtime, slots Slots, images Images, artifacts *artifact.Store, log *slog.Logger) *Orchestrator {
	taken := make(chan struct{}, 1)
	if cfg.Memory == nil {
		cfg.Memory = availableMemory
	}
	open, err := network.ParsePolicy(shoal.Network{})
	if err != nil {
		panic(err) // the empty policy is a policy
	}
	return &Orchestrator{
		openEgress: open,
		cfg:        cfg, log: log, runtime: rt, slots: slots, images: images, artifacts: artifacts,
		sandboxes: map[string]*sandbox{},
		builds:    map[string]shoal.Build{},
		newest:    map[string]string{},
		warm:      newWarmPool(taken),
		claims:    newTurns(),
		shells:    newShellPool(taken),
		taken:     taken,
		wake:      make(chan struct{}, 1),
		stopped:   make(chan struct{}),
	}
}

// AddBuild makes a template build startable on this machine.
func (o *Orchestrator) AddBuild(b shoal.Build) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.builds[b.ID] = b
	if have, ok := o.builds[o.newest[b.TemplateID]]; !ok || !b.CreatedAt.Before(have.CreatedAt) {
		o.newest[b.TemplateID] = b.ID
	}
}

// dropBuild is the contrary of AddBuild, but for the base template, which stays.
func (o *Orchestrator) dropBuild(buildID string) (dropped bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gone, ok := o.builds[buildID]
	if !ok || gone.TemplateID == shoal.BaseTemplateID {
		return false
	}
	delete(o.builds, buildID)
	if o.newest[gone.TemplateID] != buildID {
		return true
	}
	delete(o.newest, gone.TemplateID)
	for id, b := range o.builds {
		if b.TemplateID != gone.TemplateID {
			continue
		}
		if have, ok := o.builds[o.newest[b.TemplateID]]; !ok || b.CreatedAt.After(have.CreatedAt) {
			o.newest[b.TemplateID] = id
		}
	}
	return true
}

// Run holds deadlines and samples metrics until ctx ends, then waits for what
// is in flight. Sandboxes live on.
func (o *Orchestrator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return o.holdDeadlines(ctx) })
	g.Go(func() error { return o.sampleMetrics(ctx) })
	g.Go(func() error { return o.keepWarm(ctx) })
	err := g.Wait()
	o.mu.Lock()
	o.draining = true
	o.mu.Unlock()
	close(o.stopped)
	o.background.Wait()
	o.sealing.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Info describes the machine.
func (o *Orchestrator) Info(ctx context.Context) (shoal.NodeInfo, error) {
	cpus, memory, err := machine()
	if err != nil {
		return shoal.NodeInfo{}, fmt.Errorf("describe the machine: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	info := shoal.NodeInfo{
		ID: o.cfg.NodeID, Version: o.cfg.Version, Status: shoal.NodeReady,
		CPUCount: cpus, MemoryTotal: memory,
		Sandboxes: o.aliveLocked(), Starting: int(o.starting.Load()),
		CreateOK: o.createOK.Load(), CreateFail: o.createFail.Load(),
	}
	if o.draining {
		info.Status = shoal.NodeDraining
	}
	for _, b := range o.builds {
		info.Builds = append(info.Builds, b)
	}
	return info, nil
}

// SandboxAt finds the sandbox that has a slot address, for requests from inside.
func (o *Orchestrator) SandboxAt(host netip.Addr) (sandboxID string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, sb := range o.sandboxes {
		if sb.hostIP() == host {
			return id, true
		}
	}
	return "", false
}

func (o *Orchestrator) find(sandboxID string) (*sandbox, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	sb, ok := o.sandboxes[sandboxID]
	if !ok {
		return nil, shoal.NotFound(sandboxID)
	}
	return sb, nil
}

func (o *Orchestrator) all() []*sandbox {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*sandbox, 0, len(o.sandboxes))
	for _, sb := range o.sandboxes {
		list = append(list, sb)
	}
	return list
}

func (o *Orchestrator) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *Orchestrator) upperDir() string { return filepath.Join(o.cfg.DataDir, "upper") }
func (o *Orchestrator) guestDir(guestID string) string {
	return filepath.Join(o.cfg.RunDir, "guests", guestID)
}

// HealthHandler answers GET /health of the RPC port as the reference node does.
func (o *Orchestrator) HealthHandler() http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		status := "healthy"
		if o.draining {
			status = "draining"
		}
		o.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"status\":%q,\"version\":%q}\n", status, o.cfg.Version)
	}
}
