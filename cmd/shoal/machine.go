package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"shoal/internal/artifact"
	"shoal/internal/atomicfile"
	"shoal/internal/build/engine"
	"shoal/internal/config"
	"shoal/internal/envdapi"
	"shoal/internal/image"
	"shoal/internal/imagelibrary"
	"shoal/internal/network"
	"shoal/internal/orchestrator"
	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor"
	"shoal/internal/shoal"
	"shoal/internal/telemetry/sandboxlog"
)

//go:embed assets
var assets embed.FS

// trustStore is where the host's operator adds certificate authorities.
const trustStore = "/usr/local/share/ca-certificates"

// machine is what runs sandboxes here: the orchestrator and what it stands on.
type machine struct {
	cfg    *config.Config
	log    *slog.Logger
	lock   *machineLock
	slots  *network.Pool
	driver *gvisor.Driver
	shared *image.Store // of base images; the same as images, or under it
	images *image.Store
	orch   *orchestrator.Orchestrator

	artifacts *artifact.Store
	logs      *sandboxlog.Store

	library *imagelibrary.Library
	engine  *engine.Engine // nil until the base template is there
}

// openMachine takes the machine's lock and prepares runtime and network. No
// sandbox is touched before recover.
func openMachine(cfg *config.Config, log *slog.Logger, ended func(executionID string)) (*machine, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("sandboxes need root: namespaces, links and cgroups are made for each")
	}
	lock, err := lockMachine(cfg.RunDir)
	if err != nil {
		return nil, err
	}
	m := &machine{cfg: cfg, log: log, lock: lock}
	if err := m.open(ended); err != nil {
		lock.release()
		return nil, err
	}
	return m, nil
}

func (m *machine) open(ended func(string)) error {
	var err error
	host, veth, internal := m.cfg.Prefixes()
	resolvers, err := m.cfg.Resolvers()
	if err != nil {
		return err
	}
	m.slots, err = network.NewPool(network.Config{HostCIDR: host, VethCIDR: veth, DNSUpstreams: resolvers,
		AllowInternal: internal, PoolSize: m.cfg.SlotPool, StateDir: m.cfg.RunDir, Name: m.networkName(), Identify: m.sandboxAt, KeepLog: m.keepLog}, m.log)
	if err != nil {
		return err
	}
	kernel, err := m.extractKernel()
	if err != nil {
		return err
	}
	m.driver, err = gvisor.New(gvisor.Options{RunDir: filepath.Join(m.cfg.RunDir, "gvisor"), CgroupParent: m.cfg.Instance, Kernel: kernel}, m.log)
	if err != nil {
		return fmt.Errorf("prepare gVisor: %w", err)
	}
	if m.shared, m.images, err = openImages(m.cfg); err != nil {
		return err
	}
	if m.artifacts, err = m.openArtifacts(); err != nil {
		return err
	}
	if m.logs, err = sandboxlog.Open(context.Background(), filepath.Join(m.cfg.DataDir, "logs.db"), m.log); err != nil {
		return err
	}
	m.orch = orchestrator.New(orchestrator.Config{
		NodeID: m.nodeID(), Version: version, DataDir: m.cfg.DataDir, RunDir: m.cfg.RunDir,
		Pinned:       m.pinned,
		MaxProcesses: m.cfg.MaxProcesses, MaxSandboxes: m.cfg.MaxSandboxes, EnvdTimeout: m.cfg.EnvdTimeout,
		RestTime: m.cfg.RestTime, WarmMin: m.cfg.Warm, WarmMax: m.cfg.WarmMax, Shells: m.cfg.Shells,
		GuestEnv: m.guestEnv(), Ended: ended, Logs: m.logs,
	}, runtime.Set{m.driver}, m.slots, m.images, m.artifacts, m.log)
	return nil
}

// openImages opens the store of base images, which installations may share, and that
// of the layers that are made here.
func openImages(cfg *config.Config) (shared, own *image.Store, err error) {
	if shared, err = image.Open(cfg.Images()); err != nil || cfg.ImageDir == "" {
		return shared, shared, err
	}
	own, err = image.Open(cfg.DataDir)
	if err != nil {
		return nil, nil, err
	}
	return shared, own.Over(shared), nil
}

// openArtifacts opens the snapshots on the local disk, and the depot that they are
// copied to, if there is one: a machine has a directory of its own in it.
func (m *machine) openArtifacts() (*artifact.Store, error) {
	s, err := artifact.Open(filepath.Join(m.cfg.DataDir, "artifacts"))
	if err != nil || m.cfg.ArtifactDir == "" {
		return s, err
	}
	depot, err := artifact.NewDepot(filepath.Join(m.cfg.ArtifactDir, m.nodeID()), m.cfg.ArtifactCache<<20, m.log)
	if err != nil {
		return nil, err
	}
	return s, s.WithDepot(depot)
}

// networkName tells installations apart in names that are short of room; the
// machine's own has none.
func (m *machine) networkName() string {
	if m.cfg.Instance == config.DefaultInstance {
		return ""
	}
	return m.cfg.Instance
}

// sandboxAt identifies a guest that asks its node something.
func (m *machine) sandboxAt(host netip.Addr) (string, bool) {
	if m.orch == nil {
		return "", false
	}
	return m.orch.SandboxAt(host)
}

func (m *machine) keepLog(ctx context.Context, sandboxID string, lines []byte) error {
	return m.orch.KeepLog(ctx, sandboxID, lines)
}

// alive counts the sandboxes that run.
func (m *machine) alive() (n int) {
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

// extractKernel puts the embedded sandbox kernel below the data directory, named
// by its content, so that running guests and snapshots keep theirs when shoal is
// replaced.
func (m *machine) extractKernel() (string, error) {
	data, err := assets.ReadFile("assets/kernel")
	if err != nil {
		return "", errors.New("this binary was built without the sandbox kernel; build it with `make build`")
	}
	dir := filepath.Join(m.cfg.DataDir, "kernels", fmt.Sprintf("%x", sha256.Sum256(data)))
	path := filepath.Join(dir, "kernel")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The kernel runs as nobody, who must be able to reach it.
	for _, d := range []string{m.cfg.DataDir, filepath.Dir(dir), dir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return "", fmt.Errorf("make the kernels' directory: %w", err)
		}
	}
	if err := atomicfile.WriteFile(path, data, 0o755, atomicfile.Durable); err != nil {
		return "", fmt.Errorf("extract the sandbox kernel: %w", err)
	}
	return path, nil
}

func (m *machine) nodeID() string {
	if m.cfg.NodeID != "" {
		return m.cfg.NodeID
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "local"
	}
	return name
}

// certificateAuthorities are the files whose authorities every guest trusts.
func (m *machine) certificateAuthorities() []string {
	files, _ := filepath.Glob(filepath.Join(trustStore, "*.crt"))
	return append(files, m.cfg.TrustCA...)
}

func (m *machine) guestEnv() map[string]string {
	if len(m.certificateAuthorities()) == 0 {
		return nil
	}
	return image.TrustEnv()
}

// base makes sure that the base template's image is here, and offers it.
func (m *machine) base(ctx context.Context, progress func(image.Progress)) (shoal.Build, error) {
	daemon, err := assets.ReadFile("assets/envd")
	if err != nil {
		return shoal.Build{}, errors.New("this binary was built without envd; build it with `make build`")
	}
	result, err := image.NewBuilder(m.shared, m.log).EnsureBase(ctx, image.Options{
		Envd: daemon, CAFiles: m.certificateAuthorities(), Progress: progress,
	})
	if err != nil {
		return shoal.Build{}, err
	}
	since, err := offerSince(m.cfg.DataDir, result.Digest, time.Now())
	if err != nil {
		return shoal.Build{}, err
	}
	build := shoal.Build{
		ID:         buildIDOf(result.Digest),
		TemplateID: shoal.BaseTemplateID, Status: shoal.BuildReady,
		Resources:   shoal.Resources{CPUCount: 2, MemoryMB: 1024, DiskMB: m.cfg.SandboxDisk},
		EnvdVersion: envdapi.Version, ImageDigest: result.Digest,
		DefaultUser: result.DefaultUser, DefaultWorkdir: result.DefaultWorkdir,
		CreatedAt: since, UpdatedAt: since, FinishedAt: result.BuiltAt,
	}
	m.orch.AddBuild(build)
	return build, nil
}

// run holds the machine until ctx ends.
func (m *machine) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.slots.Run(ctx) })
	g.Go(func() error { return m.orch.Run(ctx) })
	g.Go(func() error { return m.artifacts.Run(ctx) })
	g.Go(func() error { return m.logs.Run(ctx) })
	if m.engine != nil {
		g.Go(func() error { return m.engine.Run(ctx) })
	}
	return g.Wait()
}

// close leaves sandboxes running.
func (m *machine) close() {
	if err := m.logs.Close(); err != nil {
		m.log.Warn("the sandboxes' logs were not closed", "error", err)
	}
	m.lock.release()
}

// teardown ends every sandbox and removes everything that Shoal has put on the
// host but its data.
func (m *machine) teardown(ctx context.Context) error {
	none := func(string) bool { return false }
	err := errors.Join(
		m.orch.KillAll(ctx, shoal.KillDown),
		m.driver.Reclaim(ctx, none),
		m.slots.Teardown(),
		m.driver.Close(),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "guests")),
		os.RemoveAll(filepath.Join(m.cfg.RunDir, "gvisor")),
	)
	return err
}

// buildIDOf derives a stable build ID from an image's digest, so that a restart
// offers the same build.
func buildIDOf(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", hex[0:8], hex[8:12], hex[13:16], hex[17:20], hex[20:32])
}

// listen opens a TCP listener and names the holder of a port that is taken.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, describeListenError(addr, err)
	}
	return l, nil
}

// workshop is this machine's, as an engine wants it.
type workshop struct{ *orchestrator.Workshop }

var _ engine.Machine = workshop{}

// Open boots a guest from the images of a build.
func (w workshop) Open(ctx context.Context, build shoal.Build) (engine.Workbench, error) {
	bench, err := w.Workshop.Open(ctx, build)
	if err != nil {
		return nil, err
	}
	return workbench{bench}, nil
}

type workbench struct{ *orchestrator.Workbench }

// Guest is the way into the guest.
func (b workbench) Guest() engine.Guest { return b.Workbench.Guest() }
