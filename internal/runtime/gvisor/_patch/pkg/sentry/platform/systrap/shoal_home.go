package systrap

import (
	"runtime"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/atomicbitops"
)

// Mostly one thread of a guest works at a time, and it and the kernel alternate: it makes a system
// call or a fault and sleeps, the kernel answers and sleeps. On two processors each handover wakes
// the one that is idle. In a virtual machine that takes 50 µs and more, and there and back on one
// processor takes 3. So on hosts with two processors guest and kernel have one of them in common,
// their home, while one thread works at a time and nobody else needs that processor for long.
const (
	anywhere  = 0  // all processors may be used
	undecided = -1 // home is to be where the next thread hands over to the guest
	// Any other value is the number of the processor plus one.
)

// All are numbers of recordingPeriods, 400 µs each.
const (
	// apartPeriods is for how much longer several threads than one must have been awake before
	// home is left, and how long a guest has to work without the kernel.
	apartPeriods = 25
	// latePeriods is what a late handover counts for; from apartPeriods on, home is left.
	latePeriods = 10
	// Then there is no home for some time: the least at first, twice as long each time that it
	// happens again, at most the most.
	leastAwayPeriods, mostAwayPeriods = 50, 800
)

var home struct {
	// exists says whether the host has two processors, all which they are, lateAfter how many
	// cputicks a handover takes if somebody else has the processor: a millisecond. They are set
	// before there are subprocesses.
	exists    bool
	all       unix.CPUSet
	lateAfter uint64

	// processor is one of the values above.
	processor atomicbitops.Int32
	// late is set when a handover was.
	late atomicbitops.Bool

	// Numbers of recordingPeriods, which the monitor of the fast path alone uses: by how many
	// more there were several threads awake than one; what late handovers count for; for how many
	// the guest has not called the kernel; for how many there will be no home, and the next time.
	together, lateness, still, away, nextAway int
}

func initHome() {
	home.exists = runtime.NumCPU() == fewProcessors && unix.SchedGetaffinity(0, &home.all) == nil
	home.lateAfter = max(1, cputicksFreq()/1000)
	home.nextAway = leastAwayPeriods
}

// atHome says whether guest and kernel have one processor, so that who waits must sleep.
func atHome() bool { return home.processor.Load() > 0 }

// noteHandover is told how many cputicks a handover took.
//
//go:nosplit
func noteHandover(took cpuTicks) {
	if uint64(took) > home.lateAfter && home.processor.Load() > 0 && !home.late.Load() {
		home.late.Store(true)
	}
}

// keepHome decides at the end of each recordingPeriod whether there is a home, and says so.
func (s *fastPathState) keepHome() bool {
	if !home.exists {
		return false
	}
	if s.recentActivity.Load() {
		home.still = 0
	}
	several := s.nrMaxAwakeStubThreads.Load() > 1
	if several {
		home.together = min(home.together+1, apartPeriods)
	} else {
		home.together = max(home.together-1, 0)
	}
	home.lateness = max(home.lateness-1, 0)
	if home.late.Swap(false) && !several { // threads of one guest make each other wait, too
		home.lateness += latePeriods
	}
	if home.processor.Load() == anywhere {
		home.away = max(home.away-1, 0)
		if home.away > 0 || home.together > 0 {
			return false
		}
		s.beginHome()
		return true
	}
	switch {
	case home.lateness >= apartPeriods:
		home.lateness = 0
		home.away, home.nextAway = home.nextAway, min(2*home.nextAway, mostAwayPeriods)
	case home.together < apartPeriods:
		return true
	}
	leaveHome()
	return false
}

// beginHome is called when the guest has gone to sleep, or works one thread at a time again.
// Nobody spins at home: that would take the processor from whom it waits for.
func (s *fastPathState) beginHome() {
	s.sentryFastPathEnabled.Store(false)
	s.stubFastPathEnabled.Store(false)
	s.curState = sentryOffStubOff
	home.processor.CompareAndSwap(anywhere, undecided)
}

// idle is called when the guest has not called the kernel for a recordingPeriod. It says whether
// the guest is asleep, or has worked for so long without the kernel that home is of no use.
func (s *fastPathState) idle() bool {
	if !home.exists {
		return true
	}
	if s.nrMaxAwakeStubThreads.Load() > 0 {
		if home.still++; home.still <= apartPeriods {
			return false
		}
		leaveHome()
	} else if home.away == 0 {
		home.nextAway = leastAwayPeriods
	}
	home.away, home.together, home.lateness = 0, 0, 0
	home.processor.Store(anywhere)
	s.beginHome()
	return true
}
