package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"shoal/internal/artifact"
	"shoal/internal/config"
	"shoal/internal/egress/ledger"
	"shoal/internal/eventlog"
	"shoal/internal/image"
	"shoal/internal/network"
	"shoal/internal/orchestrator"
	"shoal/internal/runtime/gvisor"
	"shoal/internal/telemetry/sandboxlog"
	"shoal/internal/telemetry/series"
	"shoal/internal/volume"
)

// open prepares the parts, each before those that depend on it.
func (m *Machine) open() error {
	askToBeSpared()
	kernel, err := extractKernel(m.cfg.DataDir, m.options.Kernel())
	if err != nil {
		return err
	}
	m.driver, err = gvisor.New(gvisor.Options{RunDir: filepath.Join(m.cfg.RunDir, "gvisor"),
		CgroupParent: m.cfg.Instance, Kernel: kernel, Platform: m.cfg.GvisorPlatform}, m.log)
	if err != nil {
		return fmt.Errorf("prepare gVisor: %w", err)
	}
	if m.runtimes, err = m.openRuntimes(); err != nil {
		return err
	}
	if m.shared, m.images, err = openImages(m.cfg); err != nil {
		return err
	}
	if m.artifacts, err = m.openArtifacts(); err != nil {
		return err
	}
	m.logs, err = sandboxlog.Open(context.Background(), filepath.Join(m.cfg.DataDir, "logs.db"), m.log)
	if err != nil {
		return err
	}
	m.events, err = eventlog.Open(context.Background(), filepath.Join(m.cfg.DataDir, "events.db"), m.log)
	if err != nil {
		return errors.Join(err, m.logs.Close())
	}
	kept, err := series.OpenDisk(context.Background(), filepath.Join(m.cfg.DataDir, "metrics.db"), m.log)
	if err != nil {
		return errors.Join(err, m.logs.Close(), m.events.Close())
	}
	m.series = series.New(kept, m.log)
	m.ledger, err = ledger.Open(context.Background(), m.cfg.Connections(), m.log)
	if err != nil {
		return errors.Join(err, m.logs.Close(), m.events.Close(), m.series.Close())
	}
	if err := m.openOnDatabases(kept); err != nil {
		return errors.Join(err, m.logs.Close(), m.events.Close(), m.series.Close(), m.ledger.Close())
	}
	return nil
}

// openOnDatabases prepares what stands on the databases, which its caller closes if it fails.
func (m *Machine) openOnDatabases(samples *series.Disk) error {
	if err := m.openCopiers(samples); err != nil {
		return err
	}
	m.egress = m.openEgress()
	volumes, err := volume.ParseBackends(m.cfg.Volumes, m.cfg.DataDir)
	if err == nil {
		err = os.MkdirAll(volume.CounterDir(m.cfg.RunDir), 0o700)
	}
	if err != nil {
		return err
	}
	// Last of what can fail, because it changes the host, and nobody would undo that.
	if m.slots, err = m.openNetwork(); err != nil {
		return err
	}
	m.orch = orchestrator.New(orchestrator.Config{
		NodeID: m.nodeID(), Version: m.options.Version, DataDir: m.cfg.DataDir, RunDir: m.cfg.RunDir,
		Pinned:       m.pinned,
		MaxProcesses: m.cfg.MaxProcesses, MaxSandboxes: m.cfg.MaxSandboxes, EnvdTimeout: m.cfg.EnvdTimeout,
		Overcommit: orchestrator.Overcommit{CPU: m.cfg.OvercommitCPU, Memory: m.cfg.OvercommitMemory, Disk: m.cfg.OvercommitDisk},
		RestTime:   m.cfg.RestTime, WarmMin: m.cfg.Warm, WarmMax: m.cfg.WarmMax, Shells: m.cfg.Shells,
		VolumeDir: volumes.Existing, VolumeCounters: volume.CounterDir(m.cfg.RunDir),
		GuestEnv: m.guestEnv(), Ended: m.options.Ended, Logs: m.logs, Events: m.events, Series: m.series,
		Ledger: m.ledger,
	}, m.runtimes, m.slots, m.images, m.artifacts, m.log)
	return nil
}

// hostState has the host's settings from before any installation of Shoal.
const hostState = "/run/shoal-host.json"

func (m *Machine) openNetwork() (*network.Pool, error) {
	host, veth, internal := m.cfg.Prefixes()
	resolvers, err := m.cfg.Resolvers()
	if err != nil {
		return nil, err
	}
	return network.NewPool(network.Config{HostCIDR: host, VethCIDR: veth, DNSUpstreams: resolvers,
		AllowInternal: internal, PoolSize: m.cfg.SlotPool, StateFile: hostState, Name: m.cfg.NetworkName(),
		Egress: m.egress, Identify: m.sandboxAt, KeepLog: m.keepLog}, m.log)
}

// sandboxAt returns the ID of the sandbox whose slot has the address.
func (m *Machine) sandboxAt(host netip.Addr) (string, bool) {
	if m.orch == nil {
		return "", false
	}
	return m.orch.SandboxAt(host)
}

func (m *Machine) keepLog(ctx context.Context, sandboxID string, lines []byte) error {
	return m.orch.KeepLog(ctx, sandboxID, lines)
}

// openImages opens the store of base images, which installations may share, and the store
// of this installation's own images.
func openImages(cfg *config.Config) (shared, own *image.Store, err error) {
	if shared, err = image.Open(cfg.BaseImages()); err != nil || cfg.ImageDir == "" {
		return shared, shared, err
	}
	own, err = image.Open(cfg.DataDir)
	if err != nil {
		return nil, nil, err
	}
	return shared, own.Over(shared), nil
}

// openArtifacts opens the store of snapshots on the local disk, and the depot that they
// are copied to, if one is configured. Each machine has its own directory in the depot.
func (m *Machine) openArtifacts() (*artifact.Store, error) {
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

func (m *Machine) nodeID() string {
	if m.cfg.NodeID != "" {
		return m.cfg.NodeID
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "local"
	}
	return name
}
