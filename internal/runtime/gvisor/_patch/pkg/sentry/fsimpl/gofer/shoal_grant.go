package gofer

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/lisafs"
	"gvisor.dev/gvisor/pkg/sentry/memmap"
)

// mappingPart is how much of a file is made writable at once where it is mapped, in bytes. It is the
// most that the host holds as one piece of its page cache, all of which gets its place on the disk when
// one page of it is written.
const mappingPart = 2 << 20

// charge counts bytes that are to be written to a shared file system whose size is bounded. It is
// ENOSPC if there is no room for them. What is written over counts too: the server finds the truth when
// it has nothing left to grant.
func (fs *filesystem) charge(ctx context.Context, bytes int64) error {
	if !fs.shared() || bytes <= 0 || !fs.client.IsSupported(lisafs.Grant) {
		return nil
	}
	if fs.granted.Add(-bytes) >= 0 {
		return nil
	}
	granted, err := fs.client.Grant(ctx, bytes)
	if err != nil {
		fs.granted.Add(bytes)
		return err
	}
	fs.granted.Add(granted)
	return nil
}

// chargeMapping decides which part of what is mapped of a file may be written to at once, and charges
// what of it has no place on the disk yet, as nobody is asked when a page is written.
//
// Preconditions: d.inode.handleMu must be held, and d.inode.mmapFD be open.
func (d *dentry) chargeMapping(ctx context.Context, required, optional memmap.MappableRange, at hostarch.AccessType) (memmap.MappableRange, hostarch.AccessType, error) {
	fs := d.inode.fs
	if !fs.shared() || !fs.client.IsSupported(lisafs.Grant) {
		return optional, hostarch.AnyAccess, nil
	}
	if !at.Write {
		return optional, hostarch.ReadExecute, nil // it is asked for again to be written to
	}
	part := memmap.MappableRange{Start: required.Start &^ (mappingPart - 1), End: (required.End + mappingPart - 1) &^ (mappingPart - 1)}
	// Also what of it is not mapped here, as far as the file goes.
	file := memmap.MappableRange{End: max(d.inode.size.Load(), required.End)}
	err := fs.charge(ctx, missingIn(int(d.inode.mmapFD.RacyLoad()), part.Intersect(file)))
	return part.Intersect(optional), hostarch.AnyAccess, err
}

// missingIn adds up the holes of a part of a file, and what of it is beyond the file's end, in bytes.
func missingIn(fd int, part memmap.MappableRange) (missing int64) {
	for at, end := int64(part.Start), int64(part.End); at < end; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err != nil || data >= end {
			return missing + end - at
		}
		missing += data - at
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return missing
		}
	}
	return missing
}
