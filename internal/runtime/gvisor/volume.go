package gvisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/boot"

	"shoal/internal/runtime"
	"shoal/internal/runtime/gvisor/pin"
	"shoal/internal/telemetry"
)

// A volume's directory is served to a guest by a gofer: a process of the kernel's program that
// has nothing but the directory, the capabilities that files' owners have, and a filter of
// system calls. It opens files on the kernel's behalf and passes them, so the kernel reads,
// writes and maps them itself. A gofer belongs to no goroutine: it ends when its kernel has
// gone, and is in the kernel's cgroup, with which it is ended if it does not.

// mountTime bounds the wait for a volume's file system.
const mountTime = 10 * time.Second

// Mount starts a gofer and has the kernel mount what it serves.
func (g *guest) Mount(ctx context.Context, v runtime.Volume) error {
	defer telemetry.Begin(ctx, "volume_mount")()
	var there bool
	if err := g.call(boot.ContMgrHasVolume, &boot.VolumeArgs{ID: v.ID, Path: v.Path}, &there); err != nil {
		return fmt.Errorf("ask for the volume %s: %w", v.ID, err)
	}
	if there {
		return nil
	}
	return g.giveVolume(ctx, boot.ContMgrMountVolume, v)
}

// holdVolumes gives the kernel what it needs to restore a guest that has volumes.
func (g *guest) holdVolumes(ctx context.Context, volumes []runtime.Volume) error {
	for _, v := range volumes {
		if err := g.giveVolume(ctx, boot.ContMgrHoldVolume, v); err != nil {
			return err
		}
	}
	return nil
}

func (g *guest) giveVolume(ctx context.Context, method string, v runtime.Volume) error {
	if g.ended() {
		return runtime.ErrGone
	}
	socket, err := g.startGofer(v)
	if err != nil {
		return fmt.Errorf("serve the volume %s: %w", v.ID, err)
	}
	defer socket.Close()
	// A file system that does not answer must not hold up the kernel's caller for ever.
	ctx, cancel := context.WithTimeout(ctx, mountTime)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = unix.Shutdown(int(socket.Fd()), unix.SHUT_RDWR) })()
	args := boot.VolumeArgs{ID: v.ID, Path: v.Path}
	args.FilePayload.Files = []*os.File{socket}
	if err := firstLine(g.call(method, &args, nil)); err != nil {
		return fmt.Errorf("mount the volume %s: %w", v.ID, err)
	}
	return nil
}

// startGofer returns the kernel's end of the socket to a new gofer.
func (g *guest) startGofer(v runtime.Volume) (*os.File, error) {
	program, err := g.driver.kernelPath(g.spec.Kernel)
	if err != nil {
		return nil, err
	}
	if program == "" {
		program = "/proc/self/exe"
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "gofer"), os.NewFile(uintptr(pair[1]), "kernel")
	defer theirs.Close()
	files := []*os.File{theirs}
	if v.Bytes > 0 {
		counter, err := os.OpenFile(v.Counter, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			ours.Close()
			return nil, err
		}
		defer counter.Close()
		files = append(files, counter)
	}
	cmd := &exec.Cmd{Path: program, Dir: "/", ExtraFiles: files,
		Args:        []string{pin.GoferArgv0, v.Dir, g.spec.ID, strconv.FormatInt(v.Bytes, 10)},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Unshareflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC}}
	if err := cmd.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // ends with the gofer, which ends with its kernel
	if err := g.driver.cgroups.enter(g.spec.ID, cmd.Process.Pid, []int{cmd.Process.Pid}); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// endGofers ends what is left in the guest's cgroup when its kernel has: gofers that wait for
// a file system that is away.
func (g *guest) endGofers() {
	for _, pid := range g.driver.cgroups.processes(g.spec.ID) {
		_ = unix.Kill(pid, unix.SIGKILL) // it may just have ended
	}
}
