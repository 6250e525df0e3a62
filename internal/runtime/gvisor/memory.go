package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/sentry/control"

	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// A guest's kernel writes its checkpoints, so their pages in the host's cache are charged
// to the guest. Within its own limit, a large guest would wait for the disk with every
// page. So its limit is raised from a checkpoint until those pages can be dropped.

// minKernelMemory is the least that a guest's kernel may need for itself, in bytes.
const minKernelMemory = 144 << 20

// hostMemory is how much of the host's memory a guest may take, in bytes: its own, and a
// half as much for what its kernel keeps of files, sockets and tasks. The kernel refuses
// the guest more of those at three quarters of that (kernelmem in _patch), so what it needs for
// itself never ends the guest.
func hostMemory(r shoal.Resources) int64 {
	own := r.MemoryMB << 20
	return own + max(own/2, minKernelMemory)
}

// memoryDir is the guest's group in the memory controller.
func (c cgroups) memoryDir(id string) string {
	if c.unified {
		return filepath.Join(c.roots[""], c.parent, id)
	}
	return filepath.Join(c.roots["memory"], c.parent, id)
}

// limitMemory sets the memory limit of the guest's group, in bytes.
func (c cgroups) limitMemory(id string, bytes int64) error {
	file := "memory.limit_in_bytes"
	if c.unified {
		file = "memory.max"
	}
	if err := os.WriteFile(filepath.Join(c.memoryDir(id), file),
		[]byte(strconv.FormatInt(bytes, 10)), 0); err != nil {
		return fmt.Errorf("set the memory limit: %w", err)
	}
	return nil
}

// memoryUsed is all memory that the guest's group uses, in bytes.
func (c cgroups) memoryUsed(id string) int64 {
	file := "memory.usage_in_bytes"
	if c.unified {
		file = "memory.current"
	}
	return readInt(filepath.Join(c.memoryDir(id), file))
}

// memory is what a guest's group uses, in bytes.
type memory struct {
	all    int64
	shared int64 // the guest's own memory, which is an unnamed file
	clean  int64 // cache that can be dropped at once
	kernel int64 // what the kernel and the processes' stubs need for themselves
}

func (c cgroups) memoryOf(id string) memory {
	cache, anonymous, prefix := "cache", "rss", ""
	if c.unified {
		cache, anonymous, prefix = "file", "anon", "file_"
	}
	data, _ := os.ReadFile(filepath.Join(c.memoryDir(id), "memory.stat"))
	stat := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			stat[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return memory{all: c.memoryUsed(id), shared: stat["shmem"], kernel: stat[anonymous],
		clean: max(0, stat[cache]-stat["shmem"]-stat[prefix+"dirty"]-stat[prefix+"writeback"])}
}

// widen raises the limit of the guest's group to `by` bytes above hostMemory.
func (g *guest) widen(by int64) {
	g.wide.Store(true)
	// Best effort: with the old limit the checkpoint is only slower.
	_ = g.driver.cgroups.limitMemory(g.spec.ID, hostMemory(g.spec.Resources)+by)
}

// narrow restores the guest's own limit as soon as that would not kill it.
func (g *guest) narrow() {
	if !g.wide.Load() {
		return
	}
	limit := hostMemory(g.spec.Resources)
	if used := g.driver.cgroups.memoryOf(g.spec.ID); used.all-used.clean > limit {
		return
	}
	if g.driver.cgroups.limitMemory(g.spec.ID, limit) == nil {
		g.wide.Store(false)
	}
}

// endLargest is a call of the kernel's that is ours (_patch/pkg/sentry/control).
const endLargest = "Usage.EndLargest"

func (g *guest) EndLargest(context.Context) (runtime.EndedProcess, error) {
	if g.ended() {
		return runtime.EndedProcess{}, runtime.ErrGone
	}
	var ended control.EndedProcess
	if err := g.call(endLargest, &struct{}{}, &ended); err != nil {
		return runtime.EndedProcess{}, fmt.Errorf("end the guest's largest process: %w", err)
	}
	return runtime.EndedProcess{PID: int(ended.PID), Name: ended.Name, Bytes: ended.Bytes}, nil
}
