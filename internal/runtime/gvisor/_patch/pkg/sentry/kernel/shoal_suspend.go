package kernel

import (
	"gvisor.dev/gvisor/pkg/atomicbitops"
	"gvisor.dev/gvisor/pkg/sentry/ktime"
	sentrytime "gvisor.dev/gvisor/pkg/sentry/time"
)

// A paused kernel is what a suspended machine is under Linux, and so is the time from a save to
// its restore: the monotonic clock stands still, with all timers; boot time goes on, as does the
// wall clock (man 2 clock_gettime).

// boottime is CLOCK_BOOTTIME, for timekeeperClock and Timekeeper.GetTime.
const boottime sentrytime.ClockID = 7

// awake is suspension.standsAt while time goes on.
const awake = -1

// suspension is the part of a Timekeeper that knows of suspended time.
type suspension struct {
	// boottimeOffset is between boot time and the source of the monotonic clock. It is set only
	// once, by SetClocks.
	boottimeOffset int64 `state:"nosave"`

	// standsAt is the monotonic time while it stands still, else awake.
	standsAt atomicbitops.Int64 `state:"nosave"`

	// saveBoottime is boot time at the save. It is only used in SetClocks after a restore.
	saveBoottime int64
}

// offsetMonotonic returns the monotonic time for a reading of its source. It loads standsAt and
// monotonicOffset after that reading was taken and in this order: then what a suspension changes
// between the steps can only make the result too small, which the lower bound mends.
func (t *Timekeeper) offsetMonotonic(source int64) int64 {
	if at := t.standsAt.Load(); at != awake {
		return at
	}
	return source + t.monotonicOffset.Load()
}

// suspend makes the monotonic clock stand still.
//
// Precondition: t is paused.
func (t *Timekeeper) suspend() {
	now, err := t.GetTime(sentrytime.Monotonic)
	if err != nil {
		panic("unable to get current monotonic time: " + err.Error())
	}
	t.standsAt.Store(now)
}

// wake lets the monotonic clock go on from where it stands.
//
// Precondition: t is paused, so nobody reads the offset through the vDSO.
func (t *Timekeeper) wake() {
	source, err := t.clocks.GetTime(sentrytime.Monotonic)
	if err != nil {
		panic("unable to get current monotonic time: " + err.Error())
	}
	t.monotonicOffset.Store(t.standsAt.Load() - source)
	t.standsAt.Store(awake)
}

// BoottimeClock returns the application CLOCK_BOOTTIME clock.
func (k *Kernel) BoottimeClock() ktime.SampledClock {
	return &timekeeperClock{tk: k.timekeeper, c: boottime}
}

// suspendTime stops time for the first of several pauses.
//
// Precondition: the tasks are stopped.
func (k *Kernel) suspendTime() {
	k.extMu.Lock()
	defer k.extMu.Unlock()
	k.suspensions++
	if k.suspensions == 1 {
		k.pauseTimeLocked(k.SupervisorContext())
		k.timekeeper.suspend()
	}
}

// wakeTimeLocked lets time go on after the last of several pauses.
//
// Precondition: k.extMu is locked, and the tasks are still stopped.
func (k *Kernel) wakeTimeLocked() {
	k.suspensions--
	if k.suspensions == 0 {
		k.timekeeper.wake()
		k.resumeTimeLocked(k.SupervisorContext())
	}
}
