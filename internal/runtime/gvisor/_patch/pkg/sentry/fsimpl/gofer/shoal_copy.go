package gofer

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

var _ vfs.HostCopier = (*regularFileFD)(nil)

// hostFile returns a copy of the descriptor by which the host's file is read or written, so that nothing
// has to be locked while it is used.
func (i *inode) hostFile(write bool) (int32, bool) {
	i.handleMu.RLock()
	defer i.handleMu.RUnlock()
	h := i.readHandle()
	if write {
		h = i.writeHandle()
	}
	if !i.fs.shared() || h.fd < 0 || i.checkLocks() != nil {
		return -1, false
	}
	own, err := unix.Dup(int(h.fd)) // no program is ever executed
	return int32(own), err == nil
}

// HostSource implements vfs.HostCopier.HostSource.
func (fd *regularFileFD) HostSource(ctx context.Context, offset, n int64) (vfs.HostRange, bool) {
	own, ok := fd.dentry().inode.hostFile(false)
	return vfs.HostRange{FD: own, At: offset, Length: n, Release: func() { _ = unix.Close(int(own)) }}, ok
}

// WriteOnHost implements vfs.HostCopier.WriteOnHost, as regularFileFD.pwrite does PWrite.
func (fd *regularFileFD) WriteOnHost(ctx context.Context, offset, n int64, write vfs.HostWriter) (int64, error) {
	d := fd.dentry()
	own, ok := d.inode.hostFile(true)
	if !ok {
		return 0, nil
	}
	defer unix.Close(int(own))
	d.inode.metadataMu.Lock()
	defer d.inode.metadataMu.Unlock()
	n, err := vfs.CheckLimit(ctx, offset, n)
	if err == nil {
		err = d.inode.fs.charge(ctx, n)
	}
	if err != nil {
		return 0, err
	}
	written, err := write(own, offset, n)
	if written == 0 {
		return 0, err
	}
	d.inode.dataMu.Lock()
	if end := uint64(offset + written); end > d.inode.size.Load() {
		d.inode.size.Store(end)
	}
	d.inode.dataMu.Unlock()
	mode := d.inode.mode.Load()
	if cleared := vfs.ClearSUIDAndSGID(mode); cleared != mode {
		if err := d.chmod(ctx, uint16(cleared)); err != nil {
			return written, err
		}
		d.inode.mode.Store(cleared)
	}
	return written, nil
}
