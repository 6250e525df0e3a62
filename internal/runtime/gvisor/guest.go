package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/sandbox"

	"shoal/internal/atomicfile"
	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/runtime/pidfd"
)

const recordFile = "guest.json"

// guest is one sandbox kernel and what runs in it.
//
// watch is the guest's only goroutine. It owns the end: only watch reaps the kernel and
// removes the cgroups, and then it closes done.
type guest struct {
	driver *Driver
	spec   runtime.Spec
	oci    *specs.Spec
	box    *sandbox.Sandbox
	upper  *os.File // O_PATH; nil for an adopted guest
	pidfd  *os.File // of the kernel
	pid    int

	// freezing guards frozen; it is held during the calls that change it.
	freezing sync.Mutex
	frozen   *bool // nil for an adopted guest until the kernel was asked

	wide       atomic.Bool // the memory limit may be above the guest's own
	background atomic.Bool // as Spec.Background, until Foreground

	done   chan struct{}
	endErr error           // set before done is closed
	exit   unix.WaitStatus // likewise; 0 if the kernel was adopted, because only its parent can read it
}

var _ runtime.Guest = (*guest)(nil)

// newGuest watches a running kernel. On success the guest owns upper.
func (d *Driver) newGuest(s runtime.Spec, oci *specs.Spec, box *sandbox.Sandbox,
	upper *os.File) (*guest, error) {
	fd, err := unix.PidfdOpen(box.Getpid(), unix.PIDFD_NONBLOCK)
	if err != nil {
		if upper != nil {
			upper.Close()
		}
		return nil, fmt.Errorf("watch the sandbox kernel: %w", err)
	}
	g := &guest{driver: d, spec: s, oci: oci, box: box, upper: upper, pid: box.Getpid(),
		pidfd: os.NewFile(uintptr(fd), "pidfd"), frozen: new(bool), done: make(chan struct{})}
	g.background.Store(s.Background)
	go g.watch()
	return g, nil
}

// watch waits for the kernel to end and removes what it leaves.
func (g *guest) watch() {
	err := pidfd.Wait(g.pidfd)
	if err == nil {
		// Reaps a child; for an adopted kernel, only removes its socket.
		err = g.box.DestroyContainer(g.spec.ID)
		g.exit, _ = g.box.Wait(g.spec.ID) // does not block; returns the status if it is known
		g.endGofers()
	}
	g.endErr = errors.Join(err, g.driver.cgroups.remove(context.Background(), g.spec.ID))
	g.pidfd.Close()
	if g.upper != nil {
		g.upper.Close()
	}
	close(g.done)
}

// hasEnded tells whether the kernel's process has ended, also while watch is cleaning up.
func (g *guest) hasEnded() bool {
	if g.ended() {
		return true
	}
	return pidfd.Ended(g.pidfd)
}

func (g *guest) Done() <-chan struct{} { return g.done }

func (g *guest) ended() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// Kill ends the guest and waits until nothing is left of it.
func (g *guest) Kill(ctx context.Context) error {
	if !g.ended() {
		conn, err := g.pidfd.SyscallConn()
		if err == nil {
			// An error means that the kernel has exited and watch is cleaning up.
			_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
		}
	}
	select {
	case <-g.done:
		return g.endErr
	case <-ctx.Done():
		return fmt.Errorf("wait for the guest to end: %w", ctx.Err())
	}
}

func (g *guest) Freeze(ctx context.Context) error {
	return g.setFrozen(ctx, true, g.box.Pause)
}

func (g *guest) Thaw(ctx context.Context) error {
	return g.setFrozen(ctx, false, g.box.Resume)
}

// setFrozen calls the kernel only for a change: the kernel counts freezes, and one thaw too
// many ends it.
func (g *guest) setFrozen(ctx context.Context, want bool, change func(id string) error) error {
	if g.ended() {
		return runtime.ErrGone
	}
	g.freezing.Lock()
	defer g.freezing.Unlock()
	if g.frozen == nil {
		frozen, err := g.stopped(ctx)
		if err != nil {
			return fmt.Errorf("ask whether the guest is frozen: %w", err)
		}
		g.frozen = &frozen
	}
	if *g.frozen == want {
		return nil
	}
	if err := change(g.spec.ID); err != nil {
		return fmt.Errorf("change whether the guest is frozen: %w", err)
	}
	*g.frozen = want
	return nil
}

// stopped reports whether the kernel is frozen. The kernel has no call for that, but a held
// task waits in a function of its own. The stacks do not tell while the kernel is freezing
// or makes a checkpoint (both for an orchestrator that is gone), nor while tasks enter or
// leave that function; then stopped looks again.
func (g *guest) stopped(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		stacks, err := g.box.Stacks()
		if err != nil {
			return false, err
		}
		if !strings.Contains(stacks, "kernel.(*Kernel).Pause(") && !strings.Contains(stacks, savingFrame) {
			switch tasks, stopped, held := countTasks(stacks); {
			case tasks == 0:
				return false, errors.New("the kernel shows no task")
			case held == tasks || stopped < tasks:
				return held == tasks, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

// heldTime bounds the wait for a checkpoint that is already under way. One takes about half
// a second per GiB of memory, and longer on a slow disk.
const heldTime = time.Minute

// savingFrame appears in the stacks of a kernel that is making a checkpoint.
const savingFrame = "state.(*SaveOpts).Save("

// countTasks counts the tasks among a kernel's goroutines. Stopped tasks are in the
// function that holds tasks; held ones are waiting there.
func countTasks(stacks string) (tasks, stopped, held int) {
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if !strings.Contains(stack, "kernel.(*Task).run(") {
			continue
		}
		tasks++
		if strings.Contains(stack, "kernel.(*Task).doStop(") {
			stopped++
			if head, _, _ := strings.Cut(stack, "\n"); strings.Contains(head, "[sync.Cond.Wait") {
				held++
			}
		}
	}
	return tasks, stopped, held
}

// Upper writes the writable layer as a tar.
func (g *guest) Upper(ctx context.Context, to *os.File) error {
	if g.ended() {
		return runtime.ErrGone
	}
	if err := g.box.TarRootfsUpperLayer(g.spec.ID, to); err != nil {
		return fmt.Errorf("read the guest's writable layer: %w", err)
	}
	return nil
}

// Changes is the same of a guest that stands still: what an overlay has in its writable layer is what has
// changed. The kernel counts freezes, so a frozen guest stays frozen.
func (g *guest) Changes(ctx context.Context, to *os.File) error {
	if g.ended() {
		return runtime.ErrGone
	}
	g.freezing.Lock()
	defer g.freezing.Unlock()
	if err := g.box.Pause(g.spec.ID); err != nil {
		return fmt.Errorf("freeze the guest: %w", err)
	}
	return errors.Join(g.Upper(ctx, to), g.box.Resume(g.spec.ID))
}

func (g *guest) Stats(ctx context.Context) (runtime.Stats, error) {
	if g.ended() {
		return runtime.Stats{}, runtime.ErrGone
	}
	var s runtime.Stats
	used := g.driver.cgroups.memoryOf(g.spec.ID)
	s.MemoryBytes, s.HeldBytes = used.all, used.all-used.clean
	s.DiskBytes = g.diskBytes()
	return s, nil
}

func (g *guest) CPUTime() time.Duration { return g.driver.cgroups.cpuTime(g.spec.ID) }

func (g *guest) Yield(yields bool) error {
	return g.groupError(g.driver.cgroups.yield(g.spec.ID, yields, g.background.Load()))
}

func (g *guest) Foreground() error {
	g.background.Store(false)
	return g.groupError(g.driver.cgroups.foreground(g.spec.ID))
}

// groupError is what a failed change of the guest's cgroup says of it.
func (g *guest) groupError(err error) error {
	return runtime.GroupError(err, g.driver.cgroups.cpuDir(g.spec.ID), g.done)
}

func (g *guest) Tidy() {
	if !g.ended() {
		console.Trim(g.spec.Dir)
		g.narrow()
	}
}

// diskBytes is the size of the guest's writable layer in bytes, or 0 if it is unknown.
func (g *guest) diskBytes() int64 {
	if g.upper == nil {
		return 0
	}
	info, err := g.upper.Stat() // and not by its number, which is another file's once it is closed
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// save writes what Adopt needs.
func (g *guest) save() error {
	data, err := json.Marshal(g.box)
	if err != nil {
		return fmt.Errorf("encode the guest's record: %w", err)
	}
	path := filepath.Join(g.spec.Dir, recordFile)
	if err := atomicfile.WriteFile(path, data, 0o600, atomicfile.Volatile); err != nil {
		return fmt.Errorf("write the guest's record: %w", err)
	}
	return nil
}
