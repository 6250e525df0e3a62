package kernel

import (
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/sentry/mm"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// mayReadExecutable tells whether the caller of an execve could read what it executes. If not,
// nobody may read it from the memory of the process instead, as Linux's would_dump sees to.
func (t *Task) mayReadExecutable(creds *auth.Credentials, image *mm.MemoryManager) bool {
	executable := image.Executable()
	if executable == nil {
		return true
	}
	defer executable.DecRef(t)
	file := executable.VirtualDentry()
	return t.k.VFS().AccessAt(t, creds, vfs.MayRead, &vfs.PathOperation{Root: file, Start: file}) == nil
}
