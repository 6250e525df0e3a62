package share

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"shoal/internal/volume/enclosure"
)

// A server is in namespaces of its own for mounts, the network and IPC, from its start. It keeps its directory
// as the root, and the list of its own descriptors as its current directory: a mount of its own, from which no
// path leads to the rest of /proc, or anywhere else. It runs as root with the powers over files alone, and with
// a filter of system calls (filter.go).

// Unshare are the namespaces that a server is to be started in.
const Unshare = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC

// confine makes a directory all that this process can reach of the host. What is open stays.
func confine(dir string) (root int, err error) {
	unix.Umask(0) // modes come from the guest, whose mask is in them already
	descriptors, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/fd", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open the list of descriptors: %w", err)
	}
	if err := enclosure.Enter(dir); err != nil {
		return -1, err
	}
	if root, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err := unix.Fchdir(descriptors); err != nil {
		return -1, fmt.Errorf("enter the list of descriptors: %w", err)
	}
	if err := errors.Join(unix.Close(descriptors), dropPowers()); err != nil {
		return -1, err
	}
	if err := installFilter(); err != nil {
		return -1, fmt.Errorf("install the filter of system calls: %w", err)
	}
	return root, nil
}

// powers are what a server may do with files whose owners it acts for.
var powers = []uint{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID}

// dropPowers gives up all others, for all threads and for good.
func dropPowers() error {
	var mask uint64
	for _, p := range powers {
		mask |= 1 << p
	}
	for p := range uintptr(64) {
		if mask&(1<<p) != 0 {
			continue
		}
		err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, p, 0)
		if errors.Is(err, unix.EINVAL) { // the kernel has no more
			break
		}
		if err != nil {
			return fmt.Errorf("drop a capability: %w", err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: uint32(mask), Permitted: uint32(mask)},
		{Effective: uint32(mask >> 32), Permitted: uint32(mask >> 32)}}
	if err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

// onAllThreads makes a system call on each thread. A program with cgo cannot, which is an error.
func onAllThreads(call, a, b, c uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a, b, c); errno != 0 {
		return errno
	}
	return nil
}
