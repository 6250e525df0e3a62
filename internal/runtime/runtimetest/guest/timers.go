package main

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// timers wait for some time each. They call started before they begin to wait.
var timers = map[string]func(d time.Duration, started func()){
	"nanosleep": func(d time.Duration, started func()) {
		started()
		for left := unix.NsecToTimespec(d.Nanoseconds()); errors.Is(unix.Nanosleep(&left, &left), unix.EINTR); {
		}
	},
	"until": func(d time.Duration, started func()) {
		end := later(unix.CLOCK_MONOTONIC, d)
		started()
		for errors.Is(unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &end, nil), unix.EINTR) {
		}
	},
	"futex": func(d time.Duration, started func()) {
		const waitBitset, all = 9, ^uintptr(0) // FUTEX_WAIT_BITSET, whose deadline is monotonic
		var word uint32
		end := later(unix.CLOCK_MONOTONIC, d)
		started()
		for {
			_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), waitBitset, 0,
				uintptr(unsafe.Pointer(&end)), 0, all)
			if errno != unix.EINTR {
				return
			}
		}
	},
	"poll": func(d time.Duration, started func()) {
		started()
		_, _ = unix.Poll(nil, int(d.Milliseconds())) // the kernel goes on with it after a stop
	},
	"timerfd":          func(d time.Duration, started func()) { timerfd(unix.CLOCK_MONOTONIC, d, started) },
	"timerfd boottime": func(d time.Duration, started func()) { timerfd(unix.CLOCK_BOOTTIME, d, started) },
	"timerfd realtime": func(d time.Duration, started func()) { timerfd(unix.CLOCK_REALTIME, d, started) },
	"program's": func(d time.Duration, started func()) { // epoll and futex of Go's runtime
		timer := time.NewTimer(d)
		started()
		<-timer.C
	},
}

// later is the time on a clock after d.
func later(clock int32, d time.Duration) unix.Timespec {
	var now unix.Timespec
	_ = unix.ClockGettime(clock, &now)
	return unix.NsecToTimespec(now.Nano() + d.Nanoseconds())
}

// timerfd waits until an absolute time.
func timerfd(clock int, d time.Duration, started func()) {
	fd, err := unix.TimerfdCreate(clock, 0)
	if err == nil {
		err = unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME, &unix.ItimerSpec{Value: later(int32(clock), d)}, nil)
	}
	started()
	for expired := make([]byte, 8); err == nil; {
		if _, err = unix.Read(fd, expired); !errors.Is(err, unix.EINTR) {
			break
		}
		err = nil
	}
	unix.Close(fd)
}
