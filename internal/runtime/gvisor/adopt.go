package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/sandbox"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
)

// Adopt takes over the kernel that an earlier process started. It cannot learn the kernel's
// exit status, but notices when the kernel exits.
func (d *Driver) Adopt(ctx context.Context, s runtime.Spec) (runtime.Guest, error) {
	data, err := os.ReadFile(filepath.Join(s.Dir, recordFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, runtime.ErrGone
	} else if err != nil {
		return nil, fmt.Errorf("read the guest's record: %w", err)
	}
	box := &sandbox.Sandbox{}
	if err := json.Unmarshal(data, box); err != nil {
		return nil, fmt.Errorf("read the guest's record: %w", err)
	}
	if !isKernelOf(box.Getpid(), s.ID) {
		return nil, errors.Join(runtime.ErrGone, d.removeLeftovers(ctx, s.ID))
	}
	g, err := d.newGuest(s, d.buildSpec(s), box, nil)
	if err != nil {
		return nil, err
	}
	g.frozen = nil
	g.wide.Store(true)
	return g, nil
}

// isKernelOf guards against a process ID that has been reused by another process.
func isKernelOf(pid int, id string) bool {
	args := kernelArgs(pid)
	return len(args) > 0 && args[len(args)-1] == id
}

// kernelArgs returns the arguments of a sandbox kernel, or nil if the process is not one.
func kernelArgs(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return nil
	}
	args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
	if len(args) < 2 || args[0] != pin.Argv0 {
		return nil
	}
	return args[1:]
}

// Reclaim kills and removes every guest in this driver's run directory and parent cgroup
// that is not in use.
func (d *Driver) Reclaim(ctx context.Context, inUse func(id string) bool) error {
	ids, err := d.cgroups.ids()
	if err != nil {
		return fmt.Errorf("list guests: %w", err)
	}
	var errs error
	for _, id := range ids {
		if !inUse(id) {
			errs = errors.Join(errs, d.removeLeftovers(ctx, id))
		}
	}
	errs = errors.Join(errs, d.killStrays(inUse))
	sockets, _ := filepath.Glob(filepath.Join(d.opts.RunDir, "runsc-*.sock"))
	for _, path := range sockets {
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "runsc-"), ".sock")
		if !inUse(id) {
			errs = errors.Join(errs, os.Remove(path))
		}
	}
	return errs
}

// killStrays kills kernels of this run directory that are in no cgroup yet, because the
// process that started them was killed before it could move them.
func (d *Driver) killStrays(inUse func(id string) bool) error {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	var errs error
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		args := kernelArgs(pid)
		if !slices.Contains(args, "--root="+d.conf.RootDir) || inUse(args[len(args)-1]) {
			continue
		}
		family, err := descendants(pid)
		errs = errors.Join(errs, err)
		for _, p := range family {
			if err := unix.Kill(p, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = errors.Join(errs, fmt.Errorf("kill a stray sandbox kernel: %w", err))
			}
		}
	}
	return errs
}

// removeLeftovers kills the processes in the guest's cgroups, which ends the stubs too, and
// removes the cgroups and the control socket.
func (d *Driver) removeLeftovers(ctx context.Context, id string) error {
	for _, pid := range d.cgroups.processes(id) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill a left-over process of guest %s: %w", id, err)
		}
	}
	err := os.Remove(filepath.Join(d.opts.RunDir, "runsc-"+id+".sock"))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.cgroups.remove(ctx, id))
}
