package overlay

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/atomicbitops"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/erofs"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// maxKept is how many dentries are kept that nobody refers to. One takes about a kilobyte, with
// what it refers to in the layers.
const maxKept = 8192

// keptDentries are dentries without references that are kept, because otherwise each look-up of a
// name would look into the layers anew. The one that was kept first is dropped first, unless its
// name has been looked up meanwhile. Both fields are protected by filesystem.renameMu, locked for
// writing. Nothing of it is saved: PrepareSave drops all.
type keptDentries struct {
	first, last *dentry
	number      int
	// none is set while all are dropped.
	none bool
}

// keptDentry is what a dentry has for it.
type keptDentry struct {
	next, prev *dentry
	// kept says whether it is in the list, used whether its name was looked up since it has been.
	kept, used atomicbitops.Bool
	// linked is set when the file may have several names. Each has its own dentry with its own
	// copy of mode and owner, so these do not outlive their references.
	linked atomicbitops.Bool
}

// keeps says whether fs keeps dentries: if its lower layers are images, which nobody changes, and
// which no mount of a guest's has.
func (fs *filesystem) keeps() bool {
	for _, lower := range fs.opts.LowerRoots {
		if lower.Mount().Filesystem().FilesystemType().Name() != erofs.Name {
			return false
		}
	}
	return len(fs.opts.LowerRoots) > 0
}

// mayStay says whether nothing but the number of those that are kept speaks against keeping d. FIFOs,
// sockets and devices are opened in their layer, where their mode can be changed past the dentry.
func (d *dentry) mayStay() bool {
	switch d.mode.Load() & linux.S_IFMT {
	case linux.S_IFREG, linux.S_IFDIR, linux.S_IFLNK:
		return !d.keep.linked.Load() && !d.vfsd.IsDead()
	}
	return false
}

// keepLocked keeps d, which has no references, if it may, and says so.
//
// Preconditions: d.fs.renameMu must be locked for writing.
func (d *dentry) keepLocked(ctx context.Context) bool {
	all := &d.fs.kept
	if all.none || d.parent.Load() == nil || !d.mayStay() || !d.fs.keeps() {
		return false
	}
	if d.keep.kept.Load() {
		return true
	}
	all.add(d)
	for all.number > maxKept {
		d.fs.dropFirstLocked(ctx)
	}
	return true
}

// dropFirstLocked drops the dentry that was kept first.
//
// Preconditions: fs.renameMu must be locked for writing.
func (fs *filesystem) dropFirstLocked(ctx context.Context) {
	d := fs.kept.first
	fs.kept.remove(d) // before the references are counted, see staysKept
	if d.keep.used.Swap(false) && !fs.kept.none {
		fs.kept.add(d)
		return
	}
	if d.refs.Load() == 0 && (d.vfsd.IsDead() || d.watches.Size() == 0) {
		d.destroyLocked(ctx)
	}
}

// staysKept says whether d, which has lost its last reference, stays kept, so that no lock is
// needed. If it is dropped from the list meanwhile, then either this says no, or there the
// references are found to be gone.
func (d *dentry) staysKept() bool { return d.keep.kept.Load() && d.mayStay() }

// dropAll drops all that are kept.
func (fs *filesystem) dropAll(ctx context.Context) {
	fs.renameMu.Lock()
	defer fs.renameMu.Unlock()
	fs.kept.none = true
	for fs.kept.first != nil {
		fs.dropFirstLocked(ctx)
	}
	fs.kept.none = false
}

func (k *keptDentries) add(d *dentry) {
	d.keep.prev, d.keep.next = k.last, nil
	if k.last == nil {
		k.first = d
	} else {
		k.last.keep.next = d
	}
	k.last = d
	k.number++
	d.keep.kept.Store(true)
}

func (k *keptDentries) remove(d *dentry) {
	if !d.keep.kept.Load() {
		return
	}
	d.keep.kept.Store(false)
	if d.keep.prev == nil {
		k.first = d.keep.next
	} else {
		d.keep.prev.keep.next = d.keep.next
	}
	if d.keep.next == nil {
		k.last = d.keep.prev
	} else {
		d.keep.next.keep.prev = d.keep.prev
	}
	d.keep.prev, d.keep.next = nil, nil
	k.number--
}

var _ vfs.FilesystemImplSaveRestoreExtension = (*filesystem)(nil)

// PrepareSave implements vfs.FilesystemImplSaveRestoreExtension.PrepareSave.
func (fs *filesystem) PrepareSave(ctx context.Context) error {
	fs.dropAll(ctx)
	return nil
}

// BeforeResume implements vfs.FilesystemImplSaveRestoreExtension.BeforeResume.
func (fs *filesystem) BeforeResume(context.Context) {}

// CompleteRestore implements vfs.FilesystemImplSaveRestoreExtension.CompleteRestore.
func (fs *filesystem) CompleteRestore(context.Context, vfs.CompleteRestoreOptions) error { return nil }
