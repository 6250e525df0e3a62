// This file is added to package gofer when the sandbox kernel is built (scripts/gvisor). Others
// change a shared file system while a checkpoint of the guest lies there. So what has vanished,
// and a file system whose server is gone, keep no guest from being checkpointed or restored:
// every use of such a file is an error from then on.
package gofer

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/lisafs"
	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// shared tells whether others than this guest write to the file system.
func (fs *filesystem) shared() bool { return fs.opts.interop == InteropModeShared }

// restoreLost restores a file system that has no server.
func (fs *filesystem) restoreLost(ctx context.Context) {
	ctx.Warningf("gofer.filesystem %v: its server is gone", fs.iopts.UniqueID)
	fs.client = lisafs.LostClient()
	fs.restoreVanished()
	for fd := fs.specialFileFDs.Front(); fd != nil; fd = fd.Next() {
		fd.handle = handle{fd: -1}
	}
	fs.savedDeletedOpenDentries, fs.savedDentryRW = nil, nil
}

// restoreVanished gives each file that was not found a descriptor that the server does not
// know. Looking it up by its path again finds what is there now.
func (fs *filesystem) restoreVanished() {
	fs.syncMu.Lock()
	defer fs.syncMu.Unlock()
	for elem := fs.syncableDentries.Front(); elem != nil; elem = elem.Next() {
		if it, ok := elem.d.inode.impl.(*lisafsInode); ok && it.controlFD.Client() == nil {
			none := fs.client.NewFD(lisafs.InvalidFDID)
			it.controlFD, it.readFDLisa, it.writeFDLisa = none, none, none
			it.inoKey = inoKey{}
		}
	}
}

// Serves tells whether a file system is the one of the ID, and its server answers.
func Serves(ctx context.Context, f *vfs.Filesystem, id checkpoint.ResourceID) bool {
	fs, ok := f.Impl().(*filesystem)
	if !ok || fs.iopts.UniqueID != id {
		return false
	}
	_, err := fs.root.inode.statfs(ctx)
	return err == nil
}

// isReplacedBy tells whether the file that is found at the place of one is of another type.
func (i *lisafsInode) isReplacedBy(found *lisafs.Inode) bool {
	return uint32(found.Stat.Mode)&unix.S_IFMT != i.inode.fileType()
}
