package envd

import (
	"log/slog"
	"sync"
	"syscall"
	"time"
)

// The guest's clock is set when it is off by more than this (envd.md §1.4).
const (
	maxBehind = 50 * time.Millisecond
	maxAhead  = 5 * time.Second
)

// clock keeps the guest's wall clock near the host's.
type clock struct {
	now      func() time.Time
	set      func(time.Time) error
	log      *slog.Logger
	complain sync.Once
}

func newClock(log *slog.Logger) *clock {
	return &clock{now: time.Now, set: setClock, log: log}
}

// step sets the clock if it is off. Some kernels, such as gVisor's, refuse that and follow
// the host's clock anyway, so a failure is logged only once.
func (c *clock) step(host time.Time) {
	ahead := c.now().Sub(host)
	if ahead >= -maxBehind && ahead <= maxAhead {
		return
	}
	if err := c.set(host); err != nil {
		c.complain.Do(func() { c.log.Warn("the clock cannot be set", "ahead", ahead, "error", err) })
	}
}

func setClock(t time.Time) error {
	tv := syscall.NsecToTimeval(t.UnixNano())
	return syscall.Settimeofday(&tv)
}
