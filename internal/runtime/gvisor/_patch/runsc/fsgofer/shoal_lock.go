// This file is added to package fsgofer when the sandbox kernel is built (scripts/gvisor). With it,
// a gofer takes locks of the host's for its guest, so that guests and the host see each other's.
package fsgofer

import (
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/lisafs"
)

// lockFDs are the files that locks are held by, one for each file of the guest that was ever
// locked. They are no others' copies, so closing one releases its locks and no more.
var lockFDs struct {
	sync.Mutex
	byFile map[*controlFDLisa]int
}

var _ lisafs.HostLocker = (*controlFDLisa)(nil)

// lockFD opens the file for locks, unless it is.
func (fd *controlFDLisa) lockFD() (int, error) {
	lockFDs.Lock()
	defer lockFDs.Unlock()
	if own, ok := lockFDs.byFile[fd]; ok {
		return own, nil
	}
	if !fd.IsRegular() && !fd.IsDir() {
		return -1, unix.EOPNOTSUPP
	}
	flags := (unix.O_RDWR | openFlags) &^ unix.O_NOFOLLOW
	if fd.IsDir() {
		flags &^= unix.O_RDWR
	}
	own, err := unix.Openat(int(procSelfFD.FD()), strconv.Itoa(fd.hostFD), flags, 0)
	if err != nil {
		return -1, err
	}
	if lockFDs.byFile == nil {
		lockFDs.byFile = map[*controlFDLisa]int{}
	}
	lockFDs.byFile[fd] = own
	return own, nil
}

// closeLockFD releases the locks of a file that the guest has closed.
func (fd *controlFDLisa) closeLockFD() {
	lockFDs.Lock()
	defer lockFDs.Unlock()
	if own, ok := lockFDs.byFile[fd]; ok {
		_ = unix.Close(own)
		delete(lockFDs.byFile, fd)
	}
}

// HostLock implements lisafs.HostLocker.
func (fd *controlFDLisa) HostLock(req *lisafs.HostLockReq) error {
	own, err := fd.lockFD()
	if err != nil {
		return err
	}
	if req.Kind == lisafs.LockFlock {
		how := map[uint32]int{unix.F_RDLCK: unix.LOCK_SH, unix.F_WRLCK: unix.LOCK_EX, unix.F_UNLCK: unix.LOCK_UN}
		return unix.Flock(own, how[req.Type]|unix.LOCK_NB)
	}
	lock := unix.Flock_t{Type: int16(req.Type), Start: int64(req.Start), Len: int64(req.Length)}
	if req.Kind == lisafs.LockRange {
		return unix.FcntlFlock(uintptr(own), unix.F_OFD_SETLK, &lock)
	}
	err = unix.FcntlFlock(uintptr(own), unix.F_OFD_GETLK, &lock)
	req.Type, req.Start, req.Length = uint32(lock.Type), uint64(lock.Start), uint64(lock.Len)
	return err
}
