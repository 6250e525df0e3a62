package gvisor

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

const (
	emptyDir   = "empty"       // the root path in every spec; the image is mounted over it
	emptyNetns = "empty-netns" // the network namespace of every sandbox kernel
)

// ensureEmptyNetns binds a new network namespace to path. It has no interface but a
// loopback that is down. All kernels share it: their only link is the packet socket that
// they are given.
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

// bindNewNetns creates a namespace on this thread and then returns the thread to its own.
// It must return even if the thread exits: the process's first thread cannot exit, and
// runsc takes that thread's namespace for the whole process's.
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
		// The thread stays locked, so it exits with its goroutine.
		return errors.Join(mountErr, fmt.Errorf("return to the host's namespace: %w", err))
	}
	goruntime.UnlockOSThread()
	return mountErr
}

func isNetns(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Close unbinds the shared namespace. No guest may be left.
func (d *Driver) Close() error {
	path := d.opts.RunDir + "/" + emptyNetns
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, d.cgroups.removeParent())
}
