// This file is added to package boot when the sandbox kernel is built (scripts/gvisor). With
// it, the directories of volumes are mounted in a guest that runs, and given back to one that
// is restored. Each is served by a gofer of its own at the other end of a socket.
package boot

import (
	"fmt"
	"path"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/sentry/checkpoint"
	"gvisor.dev/gvisor/pkg/sentry/fsimpl/gofer"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/urpc"
)

const (
	// ContMgrHasVolume tells whether a volume is mounted at its path and answers.
	ContMgrHasVolume = "containerManager.HasVolume"
	// ContMgrMountVolume mounts a volume in the running guest, in place of one that is
	// mounted at the same path.
	ContMgrMountVolume = "containerManager.MountVolume"
	// ContMgrHoldVolume keeps the socket of a volume for the restore that follows.
	ContMgrHoldVolume = "containerManager.HoldVolume"
)

// VolumeArgs names a volume and where it is mounted.
type VolumeArgs struct {
	// ID is the same in all checkpoints of the guest and in what is restored from them.
	ID   string
	Path string // in the guest; made with its parents if it is missing
	// FilePayload has one file, the socket to the gofer.
	urpc.FilePayload
}

func (a *VolumeArgs) resource() checkpoint.ResourceID {
	return checkpoint.ResourceID{ContainerName: "volume", Path: a.ID}
}

// socket returns the number of the gofer's socket, which belongs to the caller from then on.
func (a *VolumeArgs) socket() (int, error) {
	if len(a.FilePayload.Files) != 1 {
		return -1, fmt.Errorf("a volume has one socket, not %d", len(a.FilePayload.Files))
	}
	defer a.FilePayload.Files[0].Close()
	return unix.Dup(int(a.FilePayload.Files[0].Fd()))
}

// heldVolumes are the sockets for a restore, of which a kernel makes one at most.
var heldVolumes struct {
	sync.Mutex
	sockets map[checkpoint.ResourceID]int
}

// HoldVolume implements ContMgrHoldVolume.
func (cm *containerManager) HoldVolume(args *VolumeArgs, _ *struct{}) error {
	socket, err := args.socket()
	if err != nil {
		return err
	}
	heldVolumes.Lock()
	defer heldVolumes.Unlock()
	if heldVolumes.sockets == nil {
		heldVolumes.sockets = map[checkpoint.ResourceID]int{}
	}
	heldVolumes.sockets[args.resource()] = socket
	return nil
}

// restoreVolumes hands the sockets to a restore. A volume without one is there afterwards, and
// every use of it is an input/output error.
func restoreVolumes(mounts *restoreMounts) {
	heldVolumes.Lock()
	defer heldVolumes.Unlock()
	for id, socket := range heldVolumes.sockets {
		mounts.fdmap[id] = socket
	}
	heldVolumes.sockets = nil
}

// HasVolume implements ContMgrHasVolume.
func (cm *containerManager) HasVolume(args *VolumeArgs, has *bool) error {
	task, err := cm.firstTask()
	if err != nil {
		return err
	}
	ctx, root := cm.l.k.SupervisorContext(), task.FSContext().RootDirectory()
	defer root.DecRef(ctx)
	at := vfs.PathOperation{Root: root, Start: root, Path: fspath.Parse(path.Clean(args.Path)), FollowFinalSymlink: true}
	there, err := task.Kernel().VFS().GetDentryAt(ctx, task.Credentials(), &at, &vfs.GetDentryOptions{})
	if err != nil {
		return nil // it is not there, or its server is not
	}
	defer there.DecRef(ctx)
	*has = there.Mount().Root() == there.Dentry() && gofer.Serves(ctx, there.Mount().Filesystem(), args.resource())
	return nil
}

// firstTask finds the guest's first process.
func (cm *containerManager) firstTask() (*kernel.Task, error) {
	cm.l.mu.Lock()
	defer cm.l.mu.Unlock()
	first := cm.l.processes[execID{cid: cm.l.sandboxID}]
	if first == nil || first.tg == nil {
		return nil, fmt.Errorf("the guest has not started")
	}
	task := first.tg.PIDNamespace().TaskWithID(initTID)
	if task == nil {
		return nil, fmt.Errorf("the guest has no first process")
	}
	return task, nil
}

// MountVolume implements ContMgrMountVolume.
func (cm *containerManager) MountVolume(args *VolumeArgs, _ *struct{}) error {
	socket, err := args.socket()
	if err != nil {
		return err
	}
	task, err := cm.firstTask()
	if err != nil {
		unix.Close(socket)
		return err
	}
	return mountVolume(cm.l.k.SupervisorContext(), task, args, socket)
}

func mountVolume(ctx context.Context, task *kernel.Task, args *VolumeArgs, socket int) error {
	v, creds := task.Kernel().VFS(), task.Credentials()
	root := task.FSContext().RootDirectory()
	defer root.DecRef(ctx)
	target := path.Clean(args.Path)
	at := vfs.PathOperation{Root: root, Start: root, Path: fspath.Parse(target), FollowFinalSymlink: true}
	err := detachVolume(ctx, task, &at)
	if err == nil {
		err = v.MkdirAllAt(ctx, target, root, creds, &vfs.MkdirOptions{Mode: 0o755}, true)
	}
	if err != nil {
		unix.Close(socket)
		return fmt.Errorf("prepare the directory for the volume: %w", err)
	}
	opts := vfs.MountOptions{GetFilesystemOptions: vfs.GetFilesystemOptions{
		InternalMount: true,
		Data: fmt.Sprintf("trans=fd,rfdno=%d,wfdno=%d,cache=remote_revalidating,disable_fifo_open",
			socket, socket),
		InternalData: gofer.InternalFilesystemOptions{UniqueID: args.resource()},
	}}
	// The file system closes the socket, also if it cannot be mounted.
	_, err = v.MountAt(ctx, creds, "volume", &at, gofer.Name, &opts)
	return err
}

// detachVolume unmounts a volume whose gofer may be gone. Programs that use files of it go on
// with errors.
func detachVolume(ctx context.Context, task *kernel.Task, at *vfs.PathOperation) error {
	v, creds := task.Kernel().VFS(), task.Credentials()
	there, err := v.GetDentryAt(ctx, creds, at, &vfs.GetDentryOptions{})
	if linuxerr.Equals(linuxerr.ENOENT, err) {
		return nil
	} else if err != nil {
		return err
	}
	fs := there.Mount().Filesystem().FilesystemType().Name()
	isRoot := there.Mount().Root() == there.Dentry()
	there.DecRef(ctx)
	if fs != gofer.Name || !isRoot {
		return nil
	}
	return v.UmountAt(ctx, creds, at, &vfs.UmountOptions{Flags: linux.MNT_DETACH})
}
