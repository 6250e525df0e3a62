// This file is added to package overlay when the sandbox kernel is built (scripts/gvisor).
package overlay

import (
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

var _ vfs.HostCopier = (*regularFileFD)(nil)

// HostSource implements vfs.HostCopier.HostSource.
func (fd *regularFileFD) HostSource(ctx context.Context, offset, n int64) (vfs.HostRange, bool) {
	wrapped, err := fd.getCurrentFD(ctx)
	if err != nil {
		return vfs.HostRange{}, false
	}
	defer wrapped.DecRef(ctx)
	return wrapped.HostSource(ctx, offset, n)
}

// WriteOnHost implements vfs.HostCopier.WriteOnHost.
func (fd *regularFileFD) WriteOnHost(ctx context.Context, offset, n int64, write vfs.HostWriter) (int64, error) {
	wrapped, err := fd.getCurrentFD(ctx)
	if err != nil {
		return 0, err
	}
	defer wrapped.DecRef(ctx)
	written, err := wrapped.WriteOnHost(ctx, offset, n, write)
	if err != nil {
		return written, err
	}
	return fd.updateSetUserGroupIDs(ctx, wrapped, written)
}
