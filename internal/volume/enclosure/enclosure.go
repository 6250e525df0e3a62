// Package enclosure has a process that serves a volume see the volume's directory, and nothing else of the host.
package enclosure

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Enter makes a directory the root of this process, which has a mount namespace of its own. Programs in it may be
// executed, by guests.
func Enter(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the directory: %w", err)
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", dir, "", flags, ""); err != nil {
		return fmt.Errorf("restrict the mount of the directory: %w", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("make the directory the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's file system: %w", err)
	}
	return unix.Chdir("/")
}
