package config

import "golang.org/x/sys/unix"

// defaultRunDir returns a directory on tmpfs if the machine has one. Most have it at /run;
// a container without an init system may have it only at /dev/shm.
func defaultRunDir() string {
	if !OnMemory("/run") && OnMemory("/dev/shm") {
		return "/dev/shm/shoal"
	}
	return "/run/shoal"
}

// OnMemory reports whether a path is on tmpfs.
func OnMemory(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.TMPFS_MAGIC
}
