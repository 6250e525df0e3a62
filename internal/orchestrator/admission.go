package orchestrator

import (
	"fmt"
	goruntime "runtime"

	"shoal/internal/shoal"
)

// Bounds of what a machine takes on. A sandbox uses what its processes use, mostly little, so
// together they are promised more than there is.
const (
	// cpuPerSandbox is how many processors a single sandbox may see for each of the
	// machine's; more would only take turns on the same ones.
	cpuPerSandbox = 4
	// memoryReserve is the part of the machine's memory, one in so many, that must be
	// available for a guest to start.
	memoryReserve = 32
	// diskReserve is the same of its disk.
	diskReserve = 100
)

// Overcommit is how many times what the machine has may be promised to its running
// sandboxes together; 0 is without a bound.
type Overcommit struct{ CPU, Memory, Disk float64 }

// capacity is what the machine has, and what of it is promised.
type capacity struct {
	cpus             int
	memory           int64 // bytes
	available        int64 // bytes of memory
	disk             int64 // bytes
	freeDisk         int64 // bytes
	overcommit       Overcommit
	promisedCPU      int
	promisedMemoryMB int64
	promisedDiskMB   int64
}

// tooMuch says to the operator what the machine lacks. A tenant learns only that it does.
func tooMuch(format string, args ...any) *shoal.Error {
	return shoal.ErrCapacity.Wrap(fmt.Errorf(format, args...), "The machine has no room for the sandbox right now")
}

// admits returns an error from the catalogue if a sandbox with these resources is more than
// the machine can take on.
func (c capacity) admits(r shoal.Resources) error {
	memoryMB := c.memory >> 20
	switch {
	case r.MemoryMB > memoryMB:
		return tooMuch("%d MiB of memory are asked for, and the machine has %d", r.MemoryMB, memoryMB)
	case r.CPUCount > c.cpus*cpuPerSandbox:
		return tooMuch("%d CPUs are asked for; a sandbox on this machine may have %d", r.CPUCount,
			c.cpus*cpuPerSandbox)
	case c.overcommit.Memory > 0 && float64(c.promisedMemoryMB+r.MemoryMB) > float64(memoryMB)*c.overcommit.Memory:
		return tooMuch("%d MiB of memory are promised to running sandboxes, of %.0f that may be",
			c.promisedMemoryMB, float64(memoryMB)*c.overcommit.Memory)
	case c.overcommit.CPU > 0 && float64(c.promisedCPU+r.CPUCount) > float64(c.cpus)*c.overcommit.CPU:
		return tooMuch("%d CPUs are promised to running sandboxes, of %.0f that may be", c.promisedCPU,
			float64(c.cpus)*c.overcommit.CPU)
	case c.overcommit.Disk > 0 && float64(c.promisedDiskMB+r.DiskMB) > float64(c.disk>>20)*c.overcommit.Disk:
		return tooMuch("%d MiB of disk are promised to running sandboxes, of %.0f that may be",
			c.promisedDiskMB, float64(c.disk>>20)*c.overcommit.Disk)
	case c.freeDisk < c.disk/diskReserve:
		return tooMuch("%d MiB of the machine's disk are free, too few to start a guest", c.freeDisk>>20)
	case c.available < c.memory/memoryReserve:
		return tooMuch("%d MiB of the machine's memory are available, too few to start a guest",
			c.available>>20)
	}
	return nil
}

// readCapacity is what the machine has, without what it has promised. It reads files, so no
// lock is held.
func readCapacity(cfg *Config) (capacity, error) {
	available, total, err := cfg.Memory()
	if err != nil {
		return capacity{}, err
	}
	free, disk, err := cfg.Disk()
	return capacity{cpus: goruntime.NumCPU(), memory: total, available: available, disk: disk, freeDisk: free,
		overcommit: cfg.Overcommit}, err
}

// roomLocked returns an error from the catalogue if a sandbox with these resources does not
// fit beside the others. except is that sandbox, if it is in the table.
func (t *table) roomLocked(has capacity, r shoal.Resources, except *sandbox) error {
	alive := 0
	for _, sb := range t.byID {
		view := sb.viewNow()
		if sb == except || view.State == shoal.StatePaused {
			continue
		}
		alive++
		has.promisedCPU += view.Resources.CPUCount
		has.promisedMemoryMB += view.Resources.MemoryMB
		has.promisedDiskMB += view.Resources.DiskMB
	}
	if alive >= t.cfg.MaxSandboxes {
		return tooMuch("the machine runs %d sandboxes, its maximum", alive)
	}
	return has.admits(r)
}
