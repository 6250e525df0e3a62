package orchestrator

import (
	"strings"
	"testing"

	"shoal/internal/network"
	"shoal/internal/shoal"
)

func TestAdmission(t *testing.T) {
	const gib = int64(1) << 30
	machine := capacity{cpus: 2, memory: 24 * gib, available: 20 * gib, disk: 100 * gib, freeDisk: 50 * gib,
		overcommit: Overcommit{CPU: 8, Memory: 2, Disk: 4}}
	for name, c := range map[string]struct {
		change func(*capacity)
		want   shoal.Resources
		says   string // "" is admitted
	}{
		"usual":            {nil, shoal.Resources{CPUCount: 2, MemoryMB: 1024}, ""},
		"all there is":     {nil, shoal.Resources{CPUCount: 8, MemoryMB: 24 << 10}, ""},
		"too much memory":  {nil, shoal.Resources{CPUCount: 2, MemoryMB: 60_000}, "60000 MiB of memory are asked for, and the machine has 24576"},
		"too many CPUs":    {nil, shoal.Resources{CPUCount: 32, MemoryMB: 512}, "32 CPUs are asked for; a sandbox on this machine may have 8"},
		"memory in sum":    {func(c *capacity) { c.promisedMemoryMB = 48 << 10 }, shoal.Resources{CPUCount: 1, MemoryMB: 128}, "49152 MiB of memory are promised"},
		"CPUs in sum":      {func(c *capacity) { c.promisedCPU = 15 }, shoal.Resources{CPUCount: 2, MemoryMB: 128}, "15 CPUs are promised to running sandboxes, of 16"},
		"no bound in sum":  {func(c *capacity) { c.promisedCPU, c.overcommit = 1000, Overcommit{} }, shoal.Resources{CPUCount: 2, MemoryMB: 128}, ""},
		"memory is short":  {func(c *capacity) { c.available = gib / 2 }, shoal.Resources{CPUCount: 2, MemoryMB: 128}, "512 MiB of the machine's memory are available"},
		"disk in sum":      {func(c *capacity) { c.promisedDiskMB = 400 << 10 }, shoal.Resources{CPUCount: 1, MemoryMB: 128, DiskMB: 1}, "409600 MiB of disk are promised to running sandboxes, of 409600"},
		"disk is short":    {func(c *capacity) { c.freeDisk = gib - 1 }, shoal.Resources{CPUCount: 1, MemoryMB: 128, DiskMB: 1}, "1023 MiB of the machine's disk are free"},
		"memory is enough": {func(c *capacity) { c.available = gib }, shoal.Resources{CPUCount: 2, MemoryMB: 128}, ""},
	} {
		now := machine
		if c.change != nil {
			c.change(&now)
		}
		err := now.admits(c.want)
		if (err == nil) != (c.says == "") || (err != nil && (!shoal.ErrCapacity.Matches(err) || !strings.Contains(err.Error(), c.says))) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPromisesAreCounted: running sandboxes count, paused ones do not, nor does the one that
// comes back.
func TestPromisesAreCounted(t *testing.T) {
	cfg := &Config{MaxSandboxes: 10, Overcommit: Overcommit{Memory: 1},
		Memory: func() (int64, int64, error) { return 2 << 30, 2 << 30, nil },
		Disk:   func() (int64, int64, error) { return 2 << 30, 2 << 30, nil }}
	table := newTable(cfg)
	spec := func(id string) shoal.Spec {
		return shoal.Spec{SandboxID: id, Resources: shoal.Resources{CPUCount: 1, MemoryMB: 1024}}
	}
	first, err := table.reserve(spec("a"), network.Egress{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.reserve(spec("b"), network.Egress{}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.reserve(spec("c"), network.Egress{}); !shoal.ErrCapacity.Matches(err) {
		t.Errorf("a third of 1 GiB on a machine with 2: %v", err)
	}
	if err := table.admit(first); err != nil {
		t.Errorf("one that is counted already: %v", err)
	}
	first.mu.Lock()
	first.view.State = shoal.StatePaused
	first.mu.Unlock()
	if _, err := table.reserve(spec("c"), network.Egress{}); err != nil {
		t.Errorf("a paused one gives its place back: %v", err)
	}
	if err := table.admit(first); !shoal.ErrCapacity.Matches(err) {
		t.Errorf("a paused one comes back to a full machine: %v", err)
	}
}
