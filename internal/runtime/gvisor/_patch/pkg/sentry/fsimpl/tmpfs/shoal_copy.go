// This file is added to package tmpfs when the sandbox kernel is built (scripts/gvisor). With it, the
// sandbox's own disk, which is a tmpfs in a file of the host, is copied from and to within the host.
package tmpfs

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/fsutil"
	"gvisor.dev/gvisor/pkg/sentry/memmap"
	"gvisor.dev/gvisor/pkg/sentry/pgalloc"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

var _ vfs.HostCopier = (*regularFileFD)(nil)

// HostSource implements vfs.HostCopier.HostSource. Holes lie nowhere.
func (fd *regularFileFD) HostSource(ctx context.Context, offset, n int64) (vfs.HostRange, bool) {
	file := fd.inode().impl.(*regularFile)
	mf := file.inode.fs.mf
	if !mf.IsDiskBacked() {
		return vfs.HostRange{}, false
	}
	r, held := file.holdRange(mf, uint64(offset), uint64(n), pgalloc.MemoryCgroupIDFromContext(ctx))
	if r.Length() == 0 {
		return vfs.HostRange{}, false
	}
	release := func() { mf.DecRef(held) }
	from, err := mf.DataFD(held)
	if err != nil {
		release()
		return vfs.HostRange{}, false
	}
	fd.inode().touchAtime(fd.vfsfd.Mount())
	return vfs.HostRange{FD: int32(from), At: int64(r.Start), Length: int64(r.Length()), Release: release}, true
}

// holdRange finds the part of a file's memory that up to n bytes from the offset lie in, and takes a
// reference on its pages.
func (rf *regularFile) holdRange(mf *pgalloc.MemoryFile, offset, n uint64, memCgID uint32) (r, held memmap.FileRange) {
	rf.dataMu.RLock()
	defer rf.dataMu.RUnlock()
	end := min(offset+n, rf.size.RacyLoad())
	seg := rf.data.FindSegment(offset)
	if offset >= end || !seg.Ok() {
		return r, held
	}
	r = seg.FileRangeOf(seg.Range().Intersect(memmap.MappableRange{Start: offset, End: end}))
	held.Start = hostarch.PageRoundDown(r.Start)
	held.End, _ = hostarch.PageRoundUp(r.End)
	mf.IncRef(held, memCgID)
	return r, held
}

// WriteOnHost implements vfs.HostCopier.WriteOnHost, as regularFileFD.pwrite does PWrite.
func (fd *regularFileFD) WriteOnHost(ctx context.Context, offset, n int64, write vfs.HostWriter) (int64, error) {
	file := fd.inode().impl.(*regularFile)
	if !file.inode.fs.mf.IsDiskBacked() {
		return 0, nil
	}
	file.inode.mu.Lock()
	defer file.inode.mu.Unlock()
	n, err := vfs.CheckLimit(ctx, offset, n)
	if err != nil {
		return 0, err
	}
	written, err := file.writeOnHost(uint64(offset), uint64(offset+n), pgalloc.MemoryCgroupIDFromContext(ctx), write)
	if written == 0 {
		return 0, err
	}
	file.inode.touchCMtimeLocked()
	for {
		mode := file.inode.mode.Load()
		if file.inode.mode.CompareAndSwap(mode, vfs.ClearSUIDAndSGID(mode)) {
			break
		}
	}
	file.inode.xattrs.KillPriv()
	return written, err
}

// writeOnHost is regularFileReadWriter.WriteFromBlocks for content that write has.
//
// Preconditions: rf.inode.mu must be held.
func (rf *regularFile) writeOnHost(at, end uint64, memCgID uint32, write vfs.HostWriter) (done int64, err error) {
	rf.dataMu.Lock()
	defer rf.dataMu.Unlock()
	if rf.seals&(linux.F_SEAL_WRITE|linux.F_SEAL_GROW) != 0 {
		return 0, nil
	}
	defer func() {
		if at > rf.size.RacyLoad() {
			rf.size.Store(at)
		}
	}()
	mf := rf.inode.fs.mf
	seg, gap := rf.data.Find(at)
	for at < end {
		if gap.Ok() {
			if seg, err = rf.fillGap(gap, at, end, memCgID); err != nil {
				return done, err
			}
		}
		r := seg.FileRangeOf(seg.Range().Intersect(memmap.MappableRange{Start: at, End: end}))
		to, err := mf.DataFD(r)
		if err != nil {
			return done, err
		}
		n, err := write(int32(to), int64(r.Start), int64(r.Length()))
		done, at = done+n, at+uint64(n)
		if err != nil || uint64(n) < r.Length() {
			return done, err
		}
		seg, gap = seg.NextNonEmpty()
	}
	return done, nil
}

// fillGap allocates memory for what is to be written from an offset that lies in a hole, up to the hole's
// end at most.
//
// Preconditions: rf.dataMu must be held.
func (rf *regularFile) fillGap(gap fsutil.FileRangeGapIterator, at, end uint64, memCgID uint32) (fsutil.FileRangeIterator, error) {
	fs := rf.inode.fs
	pages := memmap.MappableRange{Start: hostarch.PageRoundDown(at)}
	pages.End, _ = hostarch.PageRoundUp(end)
	pages = gap.Range().Intersect(pages)
	reserved := fs.accountPagesPartial(pages.Length() / hostarch.PageSize)
	if reserved == 0 {
		return fsutil.FileRangeIterator{}, linuxerr.ENOSPC
	}
	pages.End = pages.Start + hostarch.PageSize*reserved
	memory, err := fs.mf.Allocate(pages.Length(), pgalloc.AllocOpts{Kind: rf.memoryUsageKind, MemCgID: memCgID,
		Mode: pgalloc.AllocateCallerIndirectCommit})
	if err != nil {
		fs.unaccountPages(reserved)
		return fsutil.FileRangeIterator{}, err
	}
	return rf.data.Insert(gap, pages, memory.Start), nil
}
