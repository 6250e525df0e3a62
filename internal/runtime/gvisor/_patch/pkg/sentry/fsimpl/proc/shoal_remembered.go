package proc

import (
	"gvisor.dev/gvisor/pkg/atomicbitops"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/kernfs"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
)

// newRememberedFile is a setting of /proc/sys that has no effect here, because what it bounds is
// bounded otherwise or not at all. Programs and their installers want to read a large enough
// value, or to set it.
func (fs *filesystem) newRememberedFile(ctx context.Context, creds *auth.Credentials, value, least, most int32) kernfs.Inode {
	remembered := atomicbitops.FromInt32(value)
	return fs.newInode(ctx, creds, 0644, &atomicInt32File{val: &remembered, min: least, max: most})
}
