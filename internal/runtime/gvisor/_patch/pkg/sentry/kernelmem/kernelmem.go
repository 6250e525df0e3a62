// Package kernelmem bounds the memory that the sandbox kernel needs for itself: for files,
// sockets, watches and tasks. What it needs grows with what the guest asks for, and a kernel
// that runs out of memory ends the guest. So the guest is refused more while there is still
// room to remove things, to answer, and to write a checkpoint.
//
// The live heap is known after each collection. The collector runs often enough that the
// heap grows by little in between, and not at all in an idle guest.
package kernelmem

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/sentry/usage"
)

const (
	// minBudget is the least that a kernel may need for itself, in bytes.
	minBudget = 96 << 20

	// minGrowth is how far the heap may grow between two collections, in bytes. Beyond four
	// times as much it is a quarter of what is live.
	minGrowth = 48 << 20

	// maxGCPercent is above Go's default of 100: packets pass through the heap of a kernel,
	// and an idle one's is only a few MiB.
	maxGCPercent = 300

	// minGCPercent bounds how much of the heap is not live.
	minGCPercent = 25

	// saveGCPercent is the least while a checkpoint is written. Each collection looks at all
	// that is kept, which took longer than the writing. A checkpoint doubles what is kept,
	// so the heap may grow to four times its size; for that the host makes room.
	saveGCPercent = 100

	// retryShare bounds how much of the time goes to collections that refused calls ask
	// for: one in so many.
	retryShare = 4

	// drainedWait is how long a call waits for memory that the guest has just given up: a
	// process that held much has ended, and the next one must start.
	drainedWait = 2 * time.Second
)

// Levels of use. At each, what makes room for the levels below must still be possible: files
// are removed by commands, which need pipes, and processes are ended by new ones.
const (
	enough  = iota
	crowded // three quarters of the budget: no new files
	tight   // seven eighths: no new sockets, pipes, watches
	drained // all of it: no new descriptors and tasks, and no data in queues
)

var (
	level  atomic.Int32
	exempt atomic.Int32
	saves  atomic.Int32 // that are under way
	// gcPercent is what is set; 0 before anything is.
	gcPercent atomic.Uint64
	collect   sync.Mutex // held while a refused call collects
	next      time.Time  // when one may again; protected by collect
)

// Start begins to watch the heap.
func Start() {
	observe()
	rearm()
}

// Budget is how much live memory the kernel may have, in bytes: three eighths of the
// guest's. The host's limit of the guest is wider than the guest's memory by a half of it;
// the difference is for what is not collected yet.
func Budget() uint64 {
	return max(usage.MaximumTotalMemoryBytes/8*3, minBudget)
}

// Exempt lets everything be made until the returned function is called. What the guest
// already had must come back as a whole.
func Exempt() func() {
	exempt.Add(1)
	return func() { exempt.Add(-1) }
}

// Crowded reports whether no files may be made.
func Crowded() bool { return at(crowded) }

// Tight reports whether neither files nor sockets and their like may be made.
func Tight() bool { return at(tight) }

// Drained reports whether nothing may be made. It waits for a moment before it says so.
func Drained() bool {
	if !at(drained) {
		return false
	}
	for deadline := time.Now().Add(drainedWait); at(drained); {
		if time.Now().After(deadline) {
			return true
		}
		time.Sleep(drainedWait / 20)
	}
	return false
}

func at(least int32) bool {
	if level.Load() < least || exempt.Load() > 0 {
		return false
	}
	// The guest may have removed what the last collection still saw.
	retry()
	return level.Load() >= least
}

// retry collects, unless that was tried a moment ago.
func retry() {
	collect.Lock()
	defer collect.Unlock()
	begin := time.Now()
	if begin.Before(next) {
		return
	}
	runtime.GC()
	observe()
	end := time.Now()
	next = end.Add(end.Sub(begin) * (retryShare - 1))
}

// Save is called when a checkpoint begins to be written. The function that it returns ends
// that, and gives back to the host what the checkpoint needed, if that was much.
func Save() (end func()) {
	saves.Add(1)
	observe()
	return func() {
		saves.Add(-1)
		observe()
		release()
	}
}

func release() {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Uint64() > 2*minGrowth {
		debug.FreeOSMemory()
	}
}

// sentinel is collected by every collection.
type sentinel struct{ _ [16]byte }

func rearm() {
	runtime.SetFinalizer(new(sentinel), func(*sentinel) {
		observe()
		rearm()
	})
}

// observe sets the level by what is live, and when the next collection is due.
func observe() {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	live := samples[0].Value.Uint64()
	used := live + samples[1].Value.Uint64()

	percent := max(minGrowth*100/max(live, 1), minGCPercent)
	if saves.Load() > 0 {
		percent = max(percent, saveGCPercent)
	}
	percent = min(percent, maxGCPercent)
	if gcPercent.Swap(percent) != percent { // setting it stops every thread
		debug.SetGCPercent(int(percent))
	}

	switch budget := Budget(); {
	case used < budget/4*3:
		level.Store(enough)
	case used < budget/8*7:
		level.Store(crowded)
	case used < budget:
		level.Store(tight)
	default:
		level.Store(drained)
	}
}
