package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How guests share the host's processors. Linux lets a group whose threads wake and sleep
// very often, as those of a guest with many processes do, have a processor for seconds while
// others wait (measured with Linux 6.18). Two things keep the others from that: a lower
// weight for all guests together, and the idle class for a guest that yields.

const cpuPeriod = 100_000 // microseconds

// weight is a group's part of the processors beside others that want them, in hundredths of
// an ordinary group's.
type weight int

const (
	allGuests    weight = 50 // of all guests together, beside the host's own programs
	ordinary     weight = 100
	inBackground weight = 20
)

// cpuDir is the directory of the CPU controller for a group below the parent, or for the
// parent itself if id is "". It is empty if there is no such controller.
func (c cgroups) cpuDir(id string) string {
	root, ok := c.roots["cpu"]
	if c.unified {
		root, ok = c.roots[""]
	}
	if !ok {
		return ""
	}
	return filepath.Join(root, c.parent, id)
}

func (c cgroups) weighAll() error { return c.weigh(c.cpuDir(""), allGuests) }

func (c cgroups) weigh(dir string, w weight) error {
	if dir == "" {
		return nil
	}
	if c.unified {
		return setLimit(dir, "cpu.weight", strconv.Itoa(int(w)))
	}
	return setLimit(dir, "cpu.shares", strconv.Itoa(1024*int(w)/100))
}

func (c cgroups) limitCPU(id string, count int, background bool) error {
	dir, quota := c.cpuDir(id), count*cpuPeriod
	if dir == "" {
		return nil
	}
	if background {
		if err := c.weigh(dir, inBackground); err != nil {
			return err
		}
	}
	if c.unified {
		return setLimit(dir, "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod))
	}
	if err := setLimit(dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)); err != nil {
		return err
	}
	return setLimit(dir, "cpu.cfs_quota_us", strconv.Itoa(quota))
}

// yield moves a guest's group to the idle class, whose threads run when no others want to,
// or back. Leaving it gives the group the default weight.
func (c cgroups) yield(id string, yields, background bool) error {
	dir := c.cpuDir(id)
	switch {
	case dir == "":
		return nil
	case yields:
		return setLimit(dir, "cpu.idle", "1")
	}
	if err := setLimit(dir, "cpu.idle", "0"); err != nil || !background {
		return err
	}
	return c.weigh(dir, inBackground)
}

func (c cgroups) foreground(id string) error { return c.weigh(c.cpuDir(id), ordinary) }

func setLimit(dir, file, value string) error {
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
		return fmt.Errorf("set a limit: %w", err)
	}
	return nil
}

// cpuTime is the processor time charged to the guest.
func (c cgroups) cpuTime(id string) time.Duration {
	if c.unified {
		data, _ := os.ReadFile(filepath.Join(c.cpuDir(id), "cpu.stat"))
		for line := range strings.Lines(string(data)) {
			if usec, ok := strings.CutPrefix(strings.TrimSpace(line), "usage_usec "); ok {
				n, _ := strconv.ParseInt(usec, 10, 64)
				return time.Duration(n) * time.Microsecond
			}
		}
		return 0
	}
	if root, ok := c.roots["cpuacct"]; ok {
		return time.Duration(readInt(filepath.Join(root, c.parent, id, "cpuacct.usage")))
	}
	return 0
}
