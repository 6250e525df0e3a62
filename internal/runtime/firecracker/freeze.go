package firecracker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/firecracker/control"
)

// A guest is frozen in two steps: its first program has its processes stand still, and then a signal stops
// Firecracker. Firecracker's own pause is only for what is written meanwhile: after one without a snapshot,
// its virtio socket (1.16) brings nothing to the guest any more, because it waits for an answer to an event
// that only a snapshot sends. The attendant goes on, so the host's kernel never waits for the disk.

// Freeze stops the guest's processes and then Firecracker.
func (g *guest) Freeze(ctx context.Context) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	frozen, err := g.isFrozen()
	if err != nil || frozen {
		return err
	}
	g.still = true
	if _, err := g.ask(ctx, control.Request{Freeze: &control.Empty{}}); err != nil {
		if g.ended() {
			return runtime.ErrGone
		}
		g.driver.log.Warn("a guest's first program does not freeze its processes; Firecracker is stopped",
			"guest", g.spec.ID, "error", err)
	}
	if err := g.halt(ctx); err != nil {
		return g.unlessGone(errors.Join(err, g.release(context.WithoutCancel(ctx))))
	}
	*g.frozen = true
	return nil
}

// Thaw lets Firecracker and the guest's processes go on.
func (g *guest) Thaw(ctx context.Context) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	frozen, err := g.isFrozen()
	if err != nil {
		return err
	}
	if frozen {
		if err := g.signal(unix.SIGCONT); err != nil {
			return g.unlessGone(err)
		}
		*g.frozen, g.still = false, true
	}
	return g.unlessGone(g.release(ctx))
}

// release lets the guest's processes go on if they may stand still. The caller holds changing.
func (g *guest) release(ctx context.Context) error {
	if !g.still {
		return nil
	}
	if _, err := g.ask(ctx, control.Request{Thaw: &control.Empty{}}); err != nil {
		return err
	}
	g.still = false
	return nil
}

// awake does something with a machine that runs. Of a frozen guest, only its processes stand still meanwhile.
// The caller holds changing.
func (g *guest) awake(ctx context.Context, frozen bool, do func() error) (err error) {
	if !frozen {
		return do()
	}
	if err := g.signal(unix.SIGCONT); err != nil {
		return err
	}
	defer func() {
		if haltErr := g.halt(context.WithoutCancel(ctx)); haltErr != nil {
			*g.frozen, g.still = false, true
			err = errors.Join(err, haltErr)
		}
	}()
	return do()
}

// isFrozen tells whether Firecracker is stopped. The caller holds changing.
func (g *guest) isFrozen() (bool, error) {
	if g.ended() {
		return false, runtime.ErrGone
	}
	if g.frozen == nil {
		frozen, err := stopped(g.jail.PID)
		if err != nil {
			return false, g.unlessGone(fmt.Errorf("look whether the guest is frozen: %w", err))
		}
		g.frozen = &frozen
	}
	return *g.frozen, nil
}

// halt stops Firecracker and waits until all of its threads stand still.
func (g *guest) halt(ctx context.Context) error {
	if err := g.signal(unix.SIGSTOP); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if still, err := stopped(g.jail.PID); err != nil || still {
			return err
		}
		select {
		case <-tick.C:
		case <-g.done:
			return runtime.ErrGone
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.signal(unix.SIGCONT))
		}
	}
}

// signal sends a signal to Firecracker.
func (g *guest) signal(s unix.Signal) error {
	conn, err := g.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = conn.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), s, nil, 0) })
	return errors.Join(err, os.NewSyscallError("pidfd_send_signal", sendErr))
}

// stopped tells whether a signal has stopped all threads of a process.
func stopped(pid int) (bool, error) {
	tasks, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil {
		return false, err
	}
	for _, t := range tasks {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task", t.Name(), "stat"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) { // the thread has ended
			continue
		}
		if err != nil {
			return false, err
		}
		// The name, in parentheses, may have any character.
		_, state, _ := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(" "))
		if len(state) == 0 || state[0] != 'T' {
			return false, nil
		}
	}
	return true, nil
}
