package gvisor

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

const (
	emptyDir   = "empty"       // root path of every spec; the image is mounted instead
	emptyNetns = "empty-netns" // the network namespace of every sandbox kernel
)

// ensureEmptyNetns binds a new network namespace without any interface but a
// loopback that is down to path. Kernels share it: their only link is the packet
// socket that they are given.
func ensureEmptyNetns(path string) error {
	if isNetns(path) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	done := make(chan error)
	go func() { done <- bindNewNetns(path) }()
	return <-done
}

// bindNewNetns makes a namespace on this thread and returns the thread to its
// own. The way back matters even if the thread ends: if it is the process's
// first, it cannot end, and runsc takes the first thread's namespace for
// everybody's.
func bindNewNetns(path string) error {
	goruntime.LockOSThread()
	self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	own, err := os.Open(self)
	if err != nil {
		goruntime.UnlockOSThread()
		return err
	}
	defer own.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		goruntime.UnlockOSThread()
		return fmt.Errorf("unshare: %w", err)
	}
	mountErr := unix.Mount(self, path, "", unix.MS_BIND, "")
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(mountErr, fmt.Errorf("return to the host's namespace: %w", err)) // stays locked: the thread is lost
	}
	goruntime.UnlockOSThread()
	return mountErr
}

func isNetns(path string) bool {
	const nsfsMagic = 0x6e736673
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == nsfsMagic
}

// Close unbinds the shared namespace. Guests must be gone.
func (d *Driver) Close() error {
	path := d.opts.RunDir + "/" + emptyNetns
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, d.cgroups.removeParent())
}
