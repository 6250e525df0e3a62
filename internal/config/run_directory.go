package config

import "golang.org/x/sys/unix"

// defaultRunDir is on tmpfs wherever a machine has one. Most have it at /run; what starts
// without an init system may have it at /dev/shm only.
func defaultRunDir() string {
	if !OnMemory("/run") && OnMemory("/dev/shm") {
		return "/dev/shm/shoal"
	}
	return "/run/shoal"
}

// OnMemory tells whether a path is on tmpfs.
func OnMemory(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.TMPFS_MAGIC
}
