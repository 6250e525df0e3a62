package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"

	"shoal/internal/shoal"
)

// cgroups limits the memory and CPU of guests on the host, on cgroup v1 and v2.
//
// runsc could do this, but on v1 it moves the calling process into the guest's group and
// back, which breaks when two guests start at once. So runsc is given only the numbers (see
// guestLimits), and a kernel is moved into its group in two steps: as soon as it exists, so
// that starts do not take the processors from guests, and with all that it has created before
// the guest starts.
type cgroups struct {
	unified bool
	// roots maps controllers to mount points: "" on v2; "memory", "cpu" and "cpuacct" on
	// v1.
	roots  map[string]string
	parent string
}

// newCgroups finds the controllers and creates the parent group.
func newCgroups(parent string) (cgroups, error) {
	c := cgroups{parent: parent, roots: map[string]string{}}
	mounts, err := cgroupMounts()
	if err != nil {
		return c, err
	}
	if root, ok := mounts["memory"]; ok {
		c.roots["memory"] = root
		for _, name := range []string{"cpu", "cpuacct"} {
			if root, ok := mounts[name]; ok {
				c.roots[name] = root
			}
		}
	} else if root, ok := mounts[""]; ok {
		c.unified = true
		c.roots[""] = root
	} else {
		return c, errors.New("no cgroup memory controller is mounted")
	}
	for name, root := range c.roots {
		dir := filepath.Join(root, parent)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return c, fmt.Errorf("make cgroup %q of controller %q: %w", parent, name, err)
		}
	}
	if c.unified {
		if err := c.delegate(); err != nil {
			return c, err
		}
	}
	return c, c.weighAll()
}

// delegate enables the controllers for the parent and its children (v2).
func (c cgroups) delegate() error {
	for _, dir := range []string{c.roots[""], filepath.Join(c.roots[""], c.parent)} {
		file := filepath.Join(dir, "cgroup.subtree_control")
		if err := os.WriteFile(file, []byte("+memory +cpu"), 0); err != nil {
			return fmt.Errorf("enable memory and cpu in %s: %w", file, err)
		}
	}
	return nil
}

// cgroupMounts maps v1 controllers, and "" for v2, to their mount points.
func cgroupMounts() (map[string]string, error) {
	list, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, err
	}
	mounts := map[string]string{}
	for _, m := range list {
		if m.FSType == "cgroup2" {
			mounts[""] = m.Mountpoint
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			mounts[option] = m.Mountpoint
		}
	}
	return mounts, nil
}

func (c cgroups) dirs(id string) []string {
	var dirs []string
	for _, root := range c.roots {
		dirs = append(dirs, filepath.Join(root, c.parent, id))
	}
	return dirs
}

// create creates the guest's groups and sets its limits.
func (c cgroups) create(id string, r shoal.Resources, background bool) error {
	for _, dir := range c.dirs(id) {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	if err := c.limitMemory(id, hostMemory(r)); err != nil {
		return err
	}
	return c.limitCPU(id, r.CPUCount, background)
}

// begin moves a new kernel to where the processors are divided. On v1 it gets its memory
// outside the guest's limit until it enters.
func (c cgroups) begin(id string, pid int) error {
	for name, root := range c.roots {
		if name == "memory" {
			continue
		}
		if err := moveProcess(filepath.Join(root, c.parent, id), pid); err != nil {
			return err
		}
	}
	return nil
}

// enter moves a kernel that has begun and the stubs that it has created so far (pids) to where
// they are not yet. Later stubs inherit the groups. Each move may wait for all processors, so
// none is made in vain.
func (c cgroups) enter(id string, pid int, pids []int) error {
	for _, dir := range c.dirs(id) {
		there := processesIn(dir)
		for _, p := range pids {
			if slices.Contains(there, p) {
				continue
			}
			if err := moveProcess(dir, p); err != nil && !(p != pid && errors.Is(err, unix.ESRCH)) {
				return err
			}
		}
	}
	return nil
}

func moveProcess(group string, pid int) error {
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move process %d into its cgroup: %w", pid, err)
	}
	return nil
}

// descendants lists pid and everything below it.
func descendants(pid int) ([]int, error) {
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		if err != nil {
			return nil, err
		}
		for _, file := range tasks {
			data, err := os.ReadFile(file)
			if err != nil {
				continue // the thread has exited
			}
			for _, field := range strings.Fields(string(data)) {
				if child, err := strconv.Atoi(field); err == nil {
					pids = append(pids, child)
				}
			}
		}
	}
	return pids, nil
}

// remove deletes the guest's groups. The host's kernel empties a group a moment after its
// last process was reaped, and gives no notice of it; hence the retries.
func (c cgroups) remove(ctx context.Context, id string) error {
	var errs error
	for _, dir := range c.dirs(id) {
		if err := removeGroup(ctx, dir); err != nil {
			errs = errors.Join(errs, fmt.Errorf("remove cgroup: %w", err))
		}
	}
	return errs
}

// emptyTime bounds how long the host's kernel takes to end a guest's last process, whose
// memory it frees first.
const emptyTime = 15 * time.Second

func removeGroup(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, emptyTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// ids lists the guests that have a group.
func (c cgroups) ids() ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, root := range c.roots {
		entries, err := os.ReadDir(filepath.Join(root, c.parent))
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && !seen[e.Name()] {
				seen[e.Name()] = true
				ids = append(ids, e.Name())
			}
		}
	}
	return ids, nil
}

// processes lists the processes in the guest's groups.
func (c cgroups) processes(id string) []int {
	var pids []int
	for _, dir := range c.dirs(id) {
		pids = append(pids, processesIn(dir)...)
	}
	return pids
}

func processesIn(group string) (pids []int) {
	data, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for _, field := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (c cgroups) removeParent() error {
	var errs error
	for _, root := range c.roots {
		err := unix.Rmdir(filepath.Join(root, c.parent))
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) &&
			!errors.Is(err, unix.ENOTEMPTY) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

func readInt(file string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// guestLimits tells runsc which memory and CPU count the guest's kernel reports. It manages
// no group.
type guestLimits shoal.Resources

var _ cgroup.Cgroup = guestLimits{}

func (guestLimits) Install(*specs.LinuxResources) error   { return nil }
func (guestLimits) Update(*specs.LinuxResources) error    { return nil }
func (guestLimits) Uninstall() error                      { return nil }
func (guestLimits) Join() (func(), error)                 { return func() {}, nil }
func (guestLimits) CloneIntoCgroup() (*os.File, error)    { return nil, nil }
func (g guestLimits) CPUQuota() (int64, error)            { return int64(g.CPUCount) * cpuPeriod, nil }
func (guestLimits) CPUPeriod() (int64, error)             { return cpuPeriod, nil }
func (guestLimits) CPUUsage() (uint64, error)             { return 0, nil }
func (g guestLimits) NumCPU() (int, error)                { return g.CPUCount, nil }
func (g guestLimits) MemoryLimit() (uint64, error)        { return uint64(g.MemoryMB) << 20, nil }
func (guestLimits) MakePath(controllerName string) string { return "" }
