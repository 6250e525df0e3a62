// Package metrics reads the guest's use of CPU, memory and disk (envd.md §1.2). It takes
// the few numbers that it needs from /proc itself: github.com/prometheus/procfs parses
// whole files, with several times the garbage, and makes the daemon 110 KiB larger.
package metrics

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"shoal/internal/envdapi"
)

// ticksPerSecond is the unit of CPU times in /proc, the same on all Linux.
const ticksPerSecond = 100

// Meter takes samples. Use New.
type Meter struct {
	proc string // "/proc"
	root string // "/"

	mu       sync.Mutex
	previous cpuTime
}

// cpuTime is the CPU time used until a moment.
type cpuTime struct {
	at   time.Time
	busy time.Duration // all CPUs together
}

// New returns a meter of this machine.
func New() *Meter {
	return &Meter{proc: "/proc", root: "/", previous: cpuTime{at: time.Now()}}
}

// Begin makes the first sample's CPU use cover the time from now on. Without it that is the
// time since boot.
func (m *Meter) Begin() { m.cpuUsed(1) }

// Read takes a sample.
func (m *Meter) Read() (envdapi.Metrics, error) {
	r := envdapi.Metrics{Timestamp: time.Now().Unix(), CPUCount: runtime.NumCPU()}
	if err := m.readMemory(&r); err != nil {
		return r, err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(m.root, &fs); err != nil {
		return r, fmt.Errorf("read disk use: %w", err)
	}
	block := uint64(fs.Bsize)
	r.DiskTotal, r.DiskUsed = fs.Blocks*block, (fs.Blocks-min(fs.Bavail, fs.Blocks))*block
	r.CPUUsedPct = m.cpuUsed(r.CPUCount)
	return r, nil
}

func (m *Meter) readMemory(r *envdapi.Metrics) error {
	data, err := os.ReadFile(m.proc + "/meminfo")
	if err != nil {
		return fmt.Errorf("read memory use: %w", err)
	}
	kib := map[string]uint64{}
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseUint(string(fields[1]), 10, 64); err == nil {
			kib[string(bytes.TrimSuffix(fields[0], []byte(":")))] = n
		}
	}
	total := kib["MemTotal"]
	if total == 0 {
		return fmt.Errorf("read memory use: no total in %s/meminfo", m.proc)
	}
	cache := kib["Cached"] + kib["SReclaimable"]
	unused := min(kib["MemFree"]+kib["Buffers"]+cache, total)
	r.MemTotal, r.MemUsed, r.MemCache = total<<10, (total-unused)<<10, cache<<10
	r.MemTotalMiB, r.MemUsedMiB = total>>10, (total-unused)>>10
	return nil
}

// leastCPU is what a machine uses that uses less than can be counted, in percent. It is never
// nothing: the answer itself takes some.
const leastCPU = 0.01

// cpuUsed is the share of all CPUs since the previous call, in percent.
func (m *Meter) cpuUsed(cpus int) float64 {
	now := cpuTime{at: time.Now(), busy: m.busy()}
	m.mu.Lock()
	previous := m.previous
	m.previous = now
	m.mu.Unlock()
	elapsed := now.at.Sub(previous.at)
	if elapsed <= 0 || now.busy <= previous.busy {
		return leastCPU
	}
	share := float64(now.busy-previous.busy) / (float64(elapsed) * float64(cpus))
	return max(math.Round(min(share, 1)*10000)/100, leastCPU)
}

// busy is the CPU time used since boot. Kernels that do not count it in /proc/stat, such as
// gVisor's, count it for each process.
func (m *Meter) busy() time.Duration {
	if busy := m.systemTicks(); busy > 0 {
		return busy * time.Second / ticksPerSecond
	}
	return m.processTicks() * time.Second / ticksPerSecond
}

// systemTicks reads the line "cpu user nice system idle iowait irq softirq steal".
func (m *Meter) systemTicks() time.Duration {
	data, err := os.ReadFile(m.proc + "/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	fields := bytes.Fields(line)
	var busy time.Duration
	for i, field := range fields {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle and iowait, guests (counted in user)
			continue
		}
		n, _ := strconv.ParseInt(string(field), 10, 64)
		busy += time.Duration(n)
	}
	return busy
}

// processTicks adds up all living processes and the children that they waited for.
func (m *Meter) processTicks() time.Duration {
	dir, err := os.Open(m.proc)
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var busy time.Duration
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		if data, err := os.ReadFile(m.proc + "/" + name + "/stat"); err == nil {
			busy += parseProcess(data)
		}
	}
	return busy
}

// parseProcess reads utime, stime, cutime and cstime, the 12th to 15th value
// after the command, which is in parentheses and may contain anything.
func parseProcess(data []byte) time.Duration {
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return 0
	}
	fields := bytes.Fields(data[end+1:])
	var busy time.Duration
	for i := 11; i < 15 && i < len(fields); i++ {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
		busy += time.Duration(n)
	}
	return busy
}
