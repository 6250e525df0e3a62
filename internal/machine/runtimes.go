package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"shoal/internal/config"
	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker"
	"shoal/internal/runtime/firecracker/program"
)

// openRuntimes prepares what isolates guests besides gVisor, and returns all of them, the preferred
// one first.
//
// Where microVMs can run they are preferred, unless the settings name gVisor; a template that wants gVisor
// says so, and what needs it gets it, as volumes do where the kernel of microVMs has no FUSE.
func (m *Machine) openRuntimes() (runtime.Set, error) {
	set := runtime.Set{m.driver}
	if m.options.Ending {
		return m.addLeftMicroVMs(set)
	}
	if m.cfg.Runtimes == config.RuntimeGvisor {
		return set, nil
	}
	var err error
	m.microVMs, err = m.openMicroVMs()
	switch {
	case err == nil && m.microVMs == nil:
		return set, nil
	case err == nil:
		return runtime.Set{m.microVMs, m.driver}, nil
	case m.cfg.Runtimes == config.RuntimeFirecracker:
		return nil, fmt.Errorf("prepare microVMs, which runtimes=firecracker asks for: %w", err)
	}
	m.log.Warn("microVMs cannot run on this machine; guests run under gVisor", "error", err)
	return set, nil
}

// addLeftMicroVMs adds what can end microVMs, if there ever were any in this run directory.
func (m *Machine) addLeftMicroVMs(set runtime.Set) (runtime.Set, error) {
	o := m.microVMOptions()
	if _, err := os.Stat(o.RunDir); errors.Is(err, fs.ErrNotExist) {
		return set, nil
	}
	var err error
	if m.microVMs, err = firecracker.Open(o, m.log); err != nil {
		return nil, err
	}
	return append(set, m.microVMs), nil
}

// openMicroVMs returns nil where nothing was imported for microVMs and nobody asks for them.
func (m *Machine) openMicroVMs() (*firecracker.Driver, error) {
	o := m.microVMOptions()
	if m.cfg.Runtimes == config.RuntimeAuto {
		if list, err := o.Programs.Programs(); err == nil && len(list) == 0 {
			return nil, nil
		}
	}
	var err error
	if o.Attendant, err = extractAttendant(m.cfg.DataDir, m.options.Attendant()); err != nil {
		return nil, err
	}
	return firecracker.New(o, m.log)
}

func (m *Machine) microVMOptions() firecracker.Options {
	return firecracker.Options{RunDir: filepath.Join(m.cfg.RunDir, "firecracker"),
		BaseDir: m.cfg.MicroVMDisks(), CgroupParent: m.cfg.Instance + "-vm", Programs: program.Open(m.cfg.Firecracker()),
		Init: m.options.GuestInit(), Patience: m.cfg.EnvdTimeout,
		Rates: firecracker.Rates{Network: m.cfg.FirecrackerNetworkRate << 20, Disk: m.cfg.FirecrackerDiskRate << 20},
	}
}

// endGuests ends and removes every guest of every runtime.
func (m *Machine) endGuests(ctx context.Context) (errs error) {
	for _, rt := range m.runtimes {
		errs = errors.Join(errs, rt.Reclaim(ctx, func(string) bool { return false }))
	}
	return errs
}

func (m *Machine) closeRuntimes() error {
	err := m.driver.Close()
	if m.microVMs != nil {
		err = errors.Join(err, m.microVMs.Close())
	}
	return err
}
