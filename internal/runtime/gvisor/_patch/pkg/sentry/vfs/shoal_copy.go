// This file is added to package vfs when the sandbox kernel is built (scripts/gvisor). With it, what is
// copied between files whose content lies in files of the host goes from one to the other in the host.
package vfs

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
)

// HostRange is content of a file, in a file of the host.
type HostRange struct {
	FD     int32
	At     int64 // where it begins in the host's file
	Length int64 // more than 0

	// Release ends the use. Until then, the range is used for nothing else.
	Release func()
}

// HostCopier is a FileDescriptionImpl of a regular file whose content may lie in files of the host.
type HostCopier interface {
	// HostSource finds where up to n bytes from the offset lie. It is false if they do not lie in a
	// file of the host.
	HostSource(ctx context.Context, offset, n int64) (HostRange, bool)

	// WriteOnHost has write fill parts of a file of the host, which are the n bytes from the offset,
	// and takes what it has written for the file's content. The other's locks must not be taken by
	// write. It returns how many bytes were written: none, without an error, if they do not lie in a
	// file of the host.
	WriteOnHost(ctx context.Context, offset, n int64, write HostWriter) (int64, error)
}

// HostWriter fills up to n bytes of a file of the host, and returns how many it did.
type HostWriter func(fd int32, at, n int64) (int64, error)

// HostSource implements HostCopier.HostSource.
func (fd *FileDescription) HostSource(ctx context.Context, offset, n int64) (HostRange, bool) {
	from, ok := fd.impl.(HostCopier)
	if !ok || !fd.IsReadable() || fd.opts.DenyPRead {
		return HostRange{}, false
	}
	r, ok := from.HostSource(ctx, offset, n)
	if ok {
		fd.Dentry().InotifyWithParent(ctx, linux.IN_ACCESS, 0, PathEvent)
	}
	return r, ok
}

// WriteOnHost implements HostCopier.WriteOnHost. It is not for files that are appended to or written
// through to the disk.
func (fd *FileDescription) WriteOnHost(ctx context.Context, offset, n int64, write HostWriter) (int64, error) {
	to, ok := fd.impl.(HostCopier)
	if !ok || fd.opts.DenyPWrite || fd.StatusFlags()&(linux.O_APPEND|linux.O_DIRECT|linux.O_SYNC|linux.O_DSYNC) != 0 {
		return 0, nil
	}
	if !fd.IsWritable() {
		return 0, linuxerr.EBADF
	}
	written, err := to.WriteOnHost(ctx, offset, n, write)
	if written > 0 {
		fd.Dentry().InotifyWithParent(ctx, linux.IN_MODIFY, 0, PathEvent)
	}
	return written, err
}
