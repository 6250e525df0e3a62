package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"shoal/internal/shoal"
)

// cgroups limits the memory and processors of guests on the host (cgroup v2). Firecracker enters its
// group before it has the guest's memory, and never leaves it.
type cgroups struct {
	root   string // where they are mounted
	parent string
}

const (
	cpuPeriod = 100_000 // microseconds

	// overhead is what a guest has besides its memory, in MiB: Firecracker, the attendant, and what the
	// host's kernel keeps of its disk and network.
	overhead = 256

	ordinary, inBackground, allGuests = 100, 20, 50 // weights
)

func newCgroups(parent string) (cgroups, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return cgroups{}, err
	}
	for _, m := range mounts {
		c := cgroups{root: m.Mountpoint, parent: parent}
		controllers, err := os.ReadFile(filepath.Join(c.root, "cgroup.controllers"))
		if err != nil || !strings.Contains(string(controllers), "memory") {
			continue
		}
		return c, c.prepare()
	}
	return cgroups{}, errors.New("microVMs need cgroup v2 with its memory controller; " +
		"boot the host with systemd.unified_cgroup_hierarchy=1")
}

func (c cgroups) prepare() error {
	dir := filepath.Join(c.root, c.parent)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cgroup of microVMs: %w", err)
	}
	for _, d := range []string{c.root, dir} {
		if err := os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte("+memory +cpu"), 0); err != nil {
			return fmt.Errorf("enable memory and cpu in %s: %w", d, err)
		}
	}
	return c.set("", "cpu.weight", strconv.Itoa(allGuests))
}

func (c cgroups) dir(id string) string { return filepath.Join(c.root, c.parent, id) }

// open opens a guest's group, for processes that begin in it: there they end with it, however early.
func (c cgroups) open(id string) (*os.File, error) {
	f, err := os.Open(c.dir(id))
	if err != nil {
		return nil, fmt.Errorf("open the cgroup: %w", err)
	}
	return f, nil
}

func (c cgroups) set(id, file, value string) error {
	if err := os.WriteFile(filepath.Join(c.dir(id), file), []byte(value), 0); err != nil {
		return fmt.Errorf("set a limit: %w", err)
	}
	return nil
}

func (c cgroups) create(id string, r shoal.Resources, background bool) error {
	if err := os.Mkdir(c.dir(id), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the cgroup: %w", err)
	}
	err := errors.Join(c.set(id, "memory.max", strconv.FormatInt((r.MemoryMB+overhead)<<20, 10)),
		c.set(id, "cpu.max", fmt.Sprintf("%d %d", r.CPUCount*cpuPeriod, cpuPeriod)))
	if background {
		err = errors.Join(err, c.set(id, "cpu.weight", strconv.Itoa(inBackground)))
	}
	return err
}

// yield moves a group to the idle class, whose threads run when no others want to, or back. Leaving
// it gives the group the default weight.
func (c cgroups) yield(id string, yields, background bool) error {
	if yields {
		return c.set(id, "cpu.idle", "1")
	}
	if err := c.set(id, "cpu.idle", "0"); err != nil || !background {
		return err
	}
	return c.set(id, "cpu.weight", strconv.Itoa(inBackground))
}

func (c cgroups) foreground(id string) error {
	return c.set(id, "cpu.weight", strconv.Itoa(ordinary))
}

func (c cgroups) cpuTime(id string) time.Duration {
	return time.Duration(c.value(id, "cpu.stat", "usage_usec")) * time.Microsecond
}

// memoryOf returns what is charged to a guest, and of that what the host can take back at once: what
// files have in the page cache and need not be written.
func (c cgroups) memoryOf(id string) (all, clean int64) {
	data, err := os.ReadFile(filepath.Join(c.dir(id), "memory.current"))
	if err != nil {
		return 0, 0
	}
	all, _ = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	clean = c.value(id, "memory.stat", "file") - c.value(id, "memory.stat", "shmem") -
		c.value(id, "memory.stat", "file_mapped") - c.value(id, "memory.stat", "file_dirty") -
		c.value(id, "memory.stat", "file_writeback")
	return all, max(min(clean, all), 0)
}

// value reads one of the values in a file of a group; 0 if it is not there.
func (c cgroups) value(id, file, name string) int64 {
	data, err := os.ReadFile(filepath.Join(c.dir(id), file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// processes are those of a guest's group.
func (c cgroups) processes(id string) (pids []int) {
	data, _ := os.ReadFile(filepath.Join(c.dir(id), "cgroup.procs"))
	for field := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// has tells whether a process is in a guest's group.
func (c cgroups) has(id string, pid int) bool { return slices.Contains(c.processes(id), pid) }

// kill ends every process of a group, as one step. A group that is not there has none.
func (c cgroups) kill(id string) error {
	err := os.WriteFile(filepath.Join(c.dir(id), "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) { // it is being removed
		return fmt.Errorf("end the processes of %s: %w", id, err)
	}
	return nil
}

// emptyTime bounds how long the host's kernel takes to end a guest's last process, whose memory it
// frees first.
const emptyTime = 15 * time.Second

// remove removes a group. The host's kernel empties it a moment after its last process was reaped,
// and gives no notice of it; hence the retries.
func (c cgroups) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, emptyTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Rmdir(c.dir(id))
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || ctx.Err() != nil {
			return fmt.Errorf("remove the cgroup of %s: %w", id, err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// ids lists the guests that have a group.
func (c cgroups) ids() ([]string, error) {
	entries, err := os.ReadDir(c.dir(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

func (c cgroups) removeParent() error {
	err := unix.Rmdir(c.dir(""))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}
