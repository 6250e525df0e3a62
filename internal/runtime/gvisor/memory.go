package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A guest's kernel writes its checkpoints, so their pages in the host's cache count as
// the guest's memory. Within its own limit a large guest would wait for the disk with
// every page. Its limit is wider while it is frozen, until those pages can go.

// memoryDir is the guest's group of the memory controller.
func (c cgroups) memoryDir(id string) string {
	if c.unified {
		return filepath.Join(c.roots[""], c.parent, id)
	}
	return filepath.Join(c.roots["memory"], c.parent, id)
}

// limitMemory sets what the guest's group may have, in bytes.
func (c cgroups) limitMemory(id string, bytes int64) error {
	file := "memory.limit_in_bytes"
	if c.unified {
		file = "memory.max"
	}
	if err := os.WriteFile(filepath.Join(c.memoryDir(id), file), []byte(strconv.FormatInt(bytes, 10)), 0); err != nil {
		return fmt.Errorf("set the memory limit: %w", err)
	}
	return nil
}

// memoryUsed is all that the guest's group uses, in bytes.
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
	shared int64 // the guest's own: it lies in a file without a name
	clean  int64 // cache that can go at once
}

func (c cgroups) memoryOf(id string) memory {
	cache, prefix := "cache", ""
	if c.unified {
		cache, prefix = "file", "file_"
	}
	data, _ := os.ReadFile(filepath.Join(c.memoryDir(id), "memory.stat"))
	stat := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			stat[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return memory{all: c.memoryUsed(id), shared: stat["shmem"],
		clean: stat[cache] - stat["shmem"] - stat[prefix+"dirty"] - stat[prefix+"writeback"]}
}

// widen lets the guest's group have so much more than the guest's limit, in bytes.
func (g *guest) widen(by int64) {
	g.wide.Store(true)
	// Best effort: the limit that there is only makes it slower.
	_ = g.driver.cgroups.limitMemory(g.spec.ID, g.spec.Resources.MemoryMB<<20+by)
}

// narrow brings back the guest's limit as soon as that ends no guest.
func (g *guest) narrow() {
	if !g.wide.Load() {
		return
	}
	limit := g.spec.Resources.MemoryMB << 20
	if used := g.driver.cgroups.memoryOf(g.spec.ID); used.all-used.clean > limit {
		return
	}
	if g.driver.cgroups.limitMemory(g.spec.ID, limit) == nil {
		g.wide.Store(false)
	}
}
