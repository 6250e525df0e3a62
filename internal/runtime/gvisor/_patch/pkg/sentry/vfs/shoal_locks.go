package vfs

import (
	"context"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/abi/linux"
	gcontext "gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/lock"
	"gvisor.dev/gvisor/pkg/state"
)

// lazyLocks are the locks of a file. Few files are ever locked, and the locks are half of
// what the kernel keeps of a file.
type lazyLocks struct {
	made atomic.Pointer[lock.Locks]
}

// get makes the locks if need be.
func (l *lazyLocks) get() *lock.Locks {
	if made := l.made.Load(); made != nil {
		return made
	}
	l.made.CompareAndSwap(nil, new(lock.Locks))
	return l.made.Load()
}

// unlock releases what uid holds of a region.
func (l *lazyLocks) unlock(uid lock.UniqueID, r lock.LockRange) {
	if made := l.made.Load(); made != nil {
		made.UnlockRegion(uid, r)
	}
}

func init() { state.Register((*lazyLocks)(nil)) }

var _ state.SaverLoader = (*lazyLocks)(nil)

// StateTypeName implements state.Type.
func (l *lazyLocks) StateTypeName() string { return "pkg/sentry/vfs.lazyLocks" }

// StateFields implements state.Type.
func (l *lazyLocks) StateFields() []string { return []string{"made"} }

// StateSave implements state.SaverLoader.
func (l *lazyLocks) StateSave(sink state.Sink) {
	sink.SaveValue(0, l.made.Load())
}

// StateLoad implements state.SaverLoader.
func (l *lazyLocks) StateLoad(_ context.Context, source state.Source) {
	source.LoadValue(0, new(*lock.Locks), func(v any) { l.made.Store(v.(*lock.Locks)) })
}

// InWayBSD tells whether somebody else has a BSD-style lock that keeps uid from having one.
func (fl *FileLocks) InWayBSD(ctx gcontext.Context, uid lock.UniqueID, t lock.LockType) bool {
	made := fl.bsd.made.Load()
	return made != nil && made.TestRegion(ctx, uid, t, lock.LockRange{Start: 0, End: lock.LockEOF},
		false).Type != linux.F_UNLCK
}

// Used tells whether anybody may have a lock.
func (fl *FileLocks) Used() bool { return fl.bsd.made.Load() != nil || fl.posix.made.Load() != nil }
