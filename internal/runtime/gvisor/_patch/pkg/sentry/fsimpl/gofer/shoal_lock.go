package gofer

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/lisafs"
	fslock "gvisor.dev/gvisor/pkg/sentry/fsimpl/lock"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// Locks on files that others write to are the host's, too. The kernel keeps who in the guest holds
// what, as for any file, and holds of the host, by one open file, the sum of that. Both change
// together while inode.hostLocks is held; what would have to wait tries again and again, because the
// host's locks tell nobody that they are free. The host's are not part of a checkpoint: a restore takes
// them again. If somebody else has one by then, the guest has lost its locks on the file, and every use
// of it is an error until it has let go of them all.

const (
	firstLockPause = time.Millisecond
	maxLockPause   = 25 * time.Millisecond
)

// sharedLocks returns the inode if its locks are the host's too, or nil.
func (fd *fileDescription) sharedLocks() *lisafsInode { return fd.dentry().inode.sharedLocks() }

func (i *inode) sharedLocks() *lisafsInode {
	if it, ok := i.impl.(*lisafsInode); ok && i.fs.shared() && (i.isRegularFile() || i.fileType() == linux.S_IFDIR) &&
		it.controlFD.Ok() && i.fs.client.IsSupported(lisafs.HostLock) {
		return it
	}
	return nil
}

// checkLocks is EIO if the guest has lost locks that it had on the file.
func (i *inode) checkLocks() error {
	if i.locksLost.Load() != 0 {
		return linuxerr.EIO
	}
	return nil
}

// restoreLocks takes the locks of the host again that were held when the checkpoint was made.
func (fs *filesystem) restoreLocks(ctx context.Context) {
	fs.syncMu.Lock()
	defer fs.syncMu.Unlock()
	for elem := fs.syncableDentries.Front(); elem != nil; elem = elem.Next() {
		if elem.d.inode.checkLocks() != nil {
			continue // lost in an earlier restore, and not let go of since
		}
		if err := elem.d.inode.restoreLocks(ctx); err != nil {
			elem.d.inode.locksLost.Store(1)
			ctx.Warningf("gofer.filesystem %v: locks of %q are lost: %v", fs.iopts.UniqueID,
				genericDebugPathname(fs, elem.d), err)
		}
	}
}

func (i *inode) restoreLocks(ctx context.Context) error {
	it := i.sharedLocks()
	if it == nil || !i.locks.Used() {
		return nil
	}
	var err error
	if i.locks.InWayBSD(ctx, &nobody{}, fslock.ReadLock) {
		err = it.hostLock(ctx, lisafs.LockFlock, unix.F_WRLCK, fslock.LockRange{})
	} else if i.locks.InWayBSD(ctx, &nobody{}, fslock.WriteLock) {
		err = it.hostLock(ctx, lisafs.LockFlock, unix.F_RDLCK, fslock.LockRange{})
	}
	if err != nil {
		return err
	}
	return i.eachRange(ctx, func(how uint32, r fslock.LockRange) error {
		return it.hostLock(ctx, lisafs.LockRange, how, r)
	})
}

// eachRange calls with for the ranges of the file that somebody in the guest has locked. It may do so more
// than once for one.
func (i *inode) eachRange(ctx context.Context, with func(how uint32, r fslock.LockRange) error) error {
	for _, uid := range []fslock.UniqueID{&nobody{}, &vfs.FileDescription{}} { // processes' locks, and open files'
		for at := uint64(0); at < fslock.LockEOF; {
			held, err := i.locks.TestPOSIX(ctx, uid, fslock.WriteLock, fslock.LockRange{Start: at, End: fslock.LockEOF})
			if err != nil {
				return err
			}
			if held.Type == linux.F_UNLCK {
				break
			}
			r := fslock.LockRange{Start: uint64(held.Start), End: fslock.LockEOF}
			if held.Len > 0 {
				r.End = r.Start + uint64(held.Len)
			}
			if err := with(uint32(held.Type), r); err != nil {
				return err
			}
			at = r.End
		}
	}
	return nil
}

// settleLost ends the loss of a file's locks when nobody in the guest has one any more.
func (i *inode) settleLost(ctx context.Context) {
	if i.locksLost.Load() == 0 || i.locks.InWayBSD(ctx, &nobody{}, fslock.WriteLock) {
		return
	}
	held := errors.New("there is a lock")
	if i.eachRange(ctx, func(uint32, fslock.LockRange) error { return held }) == nil {
		i.locksLost.Store(0)
	}
}

// persist calls try until it does not have to wait any more.
func persist(ctx context.Context, block bool, try func() error) error {
	pause := firstLockPause
	for {
		err := try()
		if !block || !linuxerr.Equals(linuxerr.EWOULDBLOCK, err) && err != linuxerr.ErrWouldBlock {
			return err
		}
		if _, err := ctx.BlockWithTimeout(nil, true, pause); err != nil && !linuxerr.Equals(linuxerr.ETIMEDOUT, err) {
			return linuxerr.ERESTARTSYS
		}
		pause = min(2*pause, maxLockPause)
	}
}

func hostType(t fslock.LockType) uint32 {
	if t == fslock.WriteLock {
		return unix.F_WRLCK
	}
	return unix.F_RDLCK
}

// hostLock makes one request, whose refusal is ErrWouldBlock.
func (i *lisafsInode) hostLock(ctx context.Context, kind, how uint32, r fslock.LockRange) error {
	req := lisafs.HostLockReq{Kind: kind, Type: how, Start: r.Start, Length: r.End - r.Start}
	if r.End >= fslock.LockEOF {
		req.Length = 0
	}
	err := i.controlFD.HostLock(ctx, &req)
	if linuxerr.Equals(linuxerr.EAGAIN, err) || linuxerr.Equals(linuxerr.EACCES, err) {
		return linuxerr.ErrWouldBlock
	}
	return err
}

// LockBSD implements vfs.FileDescriptionImpl.LockBSD.
func (fd *fileDescription) LockBSD(ctx context.Context, uid fslock.UniqueID, ownerPID int32, t fslock.LockType, block bool) error {
	i := fd.sharedLocks()
	if i == nil {
		return fd.LockFD.LockBSD(ctx, uid, ownerPID, t, block)
	}
	return persist(ctx, block, func() error {
		i.hostLocks.Lock()
		defer i.hostLocks.Unlock()
		if err := i.checkLocks(); err != nil {
			return err
		}
		if fd.Locks().InWayBSD(ctx, uid, t) {
			return linuxerr.ErrWouldBlock
		}
		if err := i.hostLock(ctx, lisafs.LockFlock, hostType(t), fslock.LockRange{}); err != nil {
			// A change of a lock that fails has lost the lock, also under Linux.
			fd.LockFD.UnlockBSD(ctx, uid)
			i.settleBSD(ctx, fd)
			return err
		}
		return fd.LockFD.LockBSD(ctx, uid, ownerPID, t, false)
	})
}

// UnlockBSD implements vfs.FileDescriptionImpl.UnlockBSD.
func (fd *fileDescription) UnlockBSD(ctx context.Context, uid fslock.UniqueID) error {
	i := fd.sharedLocks()
	if i == nil {
		return fd.LockFD.UnlockBSD(ctx, uid)
	}
	i.hostLocks.Lock()
	defer i.hostLocks.Unlock()
	err := fd.LockFD.UnlockBSD(ctx, uid)
	i.settleBSD(ctx, fd)
	i.settleLost(ctx)
	return err
}

// nobody holds no lock, so every lock is in its way.
type nobody struct{ _ byte }

// settleBSD lets go of the host's lock if nobody in the guest has one.
func (i *lisafsInode) settleBSD(ctx context.Context, fd *fileDescription) {
	if !fd.Locks().InWayBSD(ctx, &nobody{}, fslock.WriteLock) {
		_ = i.hostLock(ctx, lisafs.LockFlock, unix.F_UNLCK, fslock.LockRange{}) // a gofer that is gone has let go
	}
}

// LockPOSIX implements vfs.FileDescriptionImpl.LockPOSIX.
func (fd *fileDescription) LockPOSIX(ctx context.Context, uid fslock.UniqueID, ownerPID int32, t fslock.LockType, r fslock.LockRange, block bool) error {
	i := fd.sharedLocks()
	if i == nil {
		return fd.Locks().LockPOSIX(ctx, uid, ownerPID, t, r, block)
	}
	return persist(ctx, block, func() error {
		i.hostLocks.Lock()
		defer i.hostLocks.Unlock()
		if err := i.checkLocks(); err != nil {
			return err
		}
		inWay, err := fd.Locks().TestPOSIX(ctx, uid, t, r)
		if err != nil {
			return err
		}
		if inWay.Type != linux.F_UNLCK {
			return linuxerr.ErrWouldBlock
		}
		// If it fails, the host's locks are as they were, as are the guest's.
		if err := i.hostLock(ctx, lisafs.LockRange, hostType(t), r); err != nil {
			return err
		}
		return fd.Locks().LockPOSIX(ctx, uid, ownerPID, t, r, false)
	})
}

// UnlockPOSIX implements vfs.FileDescriptionImpl.UnlockPOSIX. The host lets go of what nobody else in
// the guest has locked.
func (fd *fileDescription) UnlockPOSIX(ctx context.Context, uid fslock.UniqueID, r fslock.LockRange) error {
	i := fd.sharedLocks()
	if i == nil {
		return fd.Locks().UnlockPOSIX(ctx, uid, r)
	}
	i.hostLocks.Lock()
	defer i.hostLocks.Unlock()
	if err := fd.Locks().UnlockPOSIX(ctx, uid, r); err != nil {
		return err
	}
	i.settleLost(ctx)
	for at := r.Start; at < r.End; {
		held, err := fd.Locks().TestPOSIX(ctx, &nobody{}, fslock.WriteLock, fslock.LockRange{Start: at, End: r.End})
		if err != nil {
			return err
		}
		free := fslock.LockRange{Start: at, End: r.End}
		next := r.End
		if held.Type != linux.F_UNLCK {
			free.End = min(max(uint64(held.Start), at), r.End)
			if next = uint64(held.Start) + uint64(held.Len); held.Len == 0 {
				next = r.End
			}
		}
		if free.Start < free.End {
			_ = i.hostLock(ctx, lisafs.LockRange, unix.F_UNLCK, free) // a gofer that is gone has let go
		}
		at = next
	}
	return nil
}

// TestPOSIX implements vfs.FileDescriptionImpl.TestPOSIX. Whoever holds a lock outside the guest has no
// process here, as with a file on a server.
func (fd *fileDescription) TestPOSIX(ctx context.Context, uid fslock.UniqueID, t fslock.LockType, r fslock.LockRange) (linux.Flock, error) {
	found, err := fd.Locks().TestPOSIX(ctx, uid, t, r)
	i := fd.sharedLocks()
	if i == nil || err != nil || found.Type != linux.F_UNLCK {
		return found, err
	}
	req := lisafs.HostLockReq{Kind: lisafs.TestRange, Type: hostType(t), Start: r.Start, Length: r.End - r.Start}
	if r.End >= fslock.LockEOF {
		req.Length = 0
	}
	if err := i.controlFD.HostLock(ctx, &req); err != nil {
		return found, err
	}
	if req.Type != unix.F_UNLCK {
		found = linux.Flock{Type: int16(req.Type), Start: int64(req.Start), Len: int64(req.Length), PID: -1}
	}
	return found, nil
}
