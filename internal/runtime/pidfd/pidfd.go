// Package pidfd waits for processes that need not be children of this one, by descriptors that are open with
// PIDFD_NONBLOCK.
package pidfd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Wait returns when the process has ended. It parks in the network poller, so that a waiting guest occupies no
// thread.
func Wait(process *os.File) error {
	conn, err := process.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		n, err := poll(fd)
		return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
	})
}

// Ended tells whether the process has ended, or nobody waits for it any more because the descriptor is closed.
func Ended(process *os.File) bool {
	conn, err := process.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	err = conn.Control(func(fd uintptr) {
		n, err := poll(fd)
		ended = err == nil && n > 0
	})
	return ended || err != nil
}

func poll(fd uintptr) (int, error) {
	return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
}
