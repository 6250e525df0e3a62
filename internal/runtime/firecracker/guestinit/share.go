package guestinit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/firecracker/share/relay"
)

// share is a volume that is mounted in the guest.
type share struct {
	control.Share
	relay *relay.Relay
}

// share mounts a volume where the guest's processes see it, or looks whether it is mounted there. What is mounted
// at its path is replaced, with an error to who has something open in it: whoever serves the volume now does not
// know what that is.
func (s *server) share(q *control.Share) error {
	s.shares = slices.DeleteFunc(s.shares, func(v *share) bool { return v.relay.Ended() })
	if q.Mounted {
		if s.find(q) == nil {
			return errors.New("the volume is not mounted")
		}
		return nil
	}
	if s.first == 0 {
		return errors.New("the first process does not run yet")
	}
	path := filepath.Clean(q.Path)
	if !filepath.IsAbs(path) || path == "/" {
		return errors.New("a volume needs a path")
	}
	taken := false
	s.shares = slices.DeleteFunc(s.shares, func(v *share) bool {
		if v.Path != q.Path {
			return false
		}
		taken = true
		v.relay.GiveUp()
		return true
	})
	device, err := mountShare(s.first, path, taken)
	if err != nil {
		return fmt.Errorf("mount the volume: %w", err)
	}
	v := &share{*q, relay.New(device, relay.Grace)}
	go func() { // ends when it is unmounted, or broken, which closing makes sure of
		defer device.Close()
		if err := v.relay.Run(); err != nil {
			say("a volume has ended: %v", err)
		}
	}()
	s.shares = append(s.shares, v)
	return nil
}

func (s *server) find(q *control.Share) *share {
	at := slices.IndexFunc(s.shares, func(v *share) bool { return v.ID == q.ID && v.Path == q.Path && !v.relay.Ended() })
	if at < 0 {
		return nil
	}
	return s.shares[at]
}

// attach has a connection carry the messages of a volume until it ends.
func (s *server) attach(q *control.Share, conn *os.File) {
	s.mu.Lock()
	v := s.find(q)
	s.mu.Unlock()
	if v != nil {
		v.relay.Attach(host{conn})
	}
}

// host is a connection with the host that ends at once when it is closed, also for who reads from it.
type host struct{ *os.File }

func (h host) Close() error {
	if conn, err := h.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	return h.File.Close()
}

// giveUpShares makes all volumes errors that the guest does not have any more.
func (s *server) giveUpShares(has []string) {
	for _, v := range s.shares {
		if !slices.Contains(has, v.ID) {
			v.relay.GiveUp()
		}
	}
}

// fuseDevice is made by the kernel.
const fuseDevice = "/dev/fuse"

// mountShare mounts a file system among the mounts of a process, and returns the kernel's end of it. What is
// mounted there may be taken away before.
func mountShare(pid int, path string, taken bool) (relay.Device, error) {
	device, err := unix.Open(fuseDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return -1, errors.New("the guest's kernel has no FUSE")
	}
	if err != nil {
		return -1, err
	}
	space, err := unix.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns/mnt"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(space)
		done := make(chan error)
		go func() { done <- mountAmong(space, path, device, taken) }()
		err = <-done
	}
	if err != nil {
		unix.Close(device)
		return -1, err
	}
	return relay.Device(device), nil
}

// mountAmong is to be called by a goroutine that ends then: its thread has other mounts, and ends with it.
func mountAmong(space int, path string, device int, taken bool) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(space, unix.CLONE_NEWNS); err != nil {
		return err
	}
	if taken {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // the guest may have done it
			return err
		}
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=%d", device, maxRead)
	return unix.Mount("shoal", path, "fuse.shoal", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// maxRead bounds one read, in bytes.
const maxRead = 1 << 20
