package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// The process's first thread must never change its namespace, because other programs, such
// as runsc, take its namespace for the process's. Locking the thread in an init function
// keeps every goroutine except main off it.
func init() { runtime.LockOSThread() }

// namespaceDir is where iproute2 looks for named namespaces.
const namespaceDir = "/run/netns"

const threadNamespace = "/proc/thread-self/ns/net"

// prepareNamespaceDir makes the directory a shared mount, as iproute2 does before its
// first namespace. If iproute2 did it later, its mount would hide our namespaces and they
// could not be unmounted. made reports whether the mount is new.
func prepareNamespaceDir(dir string) (made bool, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	err = unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL means that it is not a mount yet
		return false, err
	}
	if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return false, fmt.Errorf("make %s a mount: %w", dir, err)
	}
	return true, unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// releaseNamespaceDir removes the mount, unless there are namespaces in the directory.
func releaseNamespaceDir(dir string) error {
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return err
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// createNamespace creates a named network namespace and runs setup in it. The file of the
// name is created exclusively, so that only one of two processes gets the name.
func createNamespace(name string, setup func(own int) error) error {
	path := filepath.Join(namespaceDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	err = onOwnThread(func(own int) error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if err := unix.Mount(threadNamespace, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name the network namespace: %w", err)
		}
		return setup(own)
	})
	if err != nil {
		return errors.Join(err, removeNamespace(name))
	}
	return nil
}

// inNamespace runs f in a named namespace.
func inNamespace(name string, f func() error) error {
	return onOwnThread(func(int) error {
		target, err := os.Open(filepath.Join(namespaceDir, name))
		if err != nil {
			return err
		}
		defer target.Close()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", name, err)
		}
		return f()
	})
}

// onOwnThread runs f on a locked thread and then returns the thread to its own namespace.
// f gets the descriptor of that namespace. A thread that cannot return is discarded.
func onOwnThread(f func(own int) error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open(threadNamespace)
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer own.Close()
		err = f(int(own.Fd()))
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			result <- errors.Join(err, fmt.Errorf("return to the host's namespace: %w", back))
			return // the thread is still locked, so it exits with the goroutine
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// removeNamespace removes a namespace's name. The host's kernel deletes its links when its last
// user is gone.
func removeNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = nil // the file exists, but no namespace was mounted on it
	}
	if removeErr := os.Remove(path); !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}
