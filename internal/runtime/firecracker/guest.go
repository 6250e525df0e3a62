package firecracker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/runtime"
	"shoal/internal/runtime/console"
	"shoal/internal/runtime/firecracker/api"
	"shoal/internal/runtime/firecracker/control"
	"shoal/internal/runtime/pidfd"
	"shoal/internal/shoal"
)

// guest is one Firecracker and the machine in it.
//
// watch owns the end: only watch removes the cgroup and the jail, and then it closes done. Another
// goroutine waits for the attendant, which ends no later.
type guest struct {
	driver   *Driver
	spec     runtime.Spec
	jail     *jail
	basePath string // of the disk's base
	tap      string
	api      *api.Client
	agent    agent
	pidfd    *os.File

	// changing is held while the guest is frozen, thawed or written, or its balloon inflated. No other lock
	// is taken while it is held.
	changing sync.Mutex
	frozen   *bool // whether Firecracker is stopped; nil for an adopted guest until it was looked at
	still    bool  // the guest's processes may stand still, whether Firecracker does or not

	background atomic.Bool // as Spec.Background, until Foreground

	attendantDone chan struct{} // nil without an attendant; closed after that has ended

	ending atomic.Bool // Firecracker has ended, or is about to
	done   chan struct{}
	endErr error // set before done is closed
}

var _ runtime.Guest = (*guest)(nil)

// newGuest watches a Firecracker that runs.
func (d *Driver) newGuest(s runtime.Spec, j *jail, tap string) (*guest, error) {
	fd, err := unix.PidfdOpen(j.PID, unix.PIDFD_NONBLOCK)
	if err == nil && !d.groups.has(s.ID, j.PID) {
		unix.Close(fd) // the number is another process's by now
		err = unix.ESRCH
	}
	if err != nil {
		return nil, shoal.ErrFirecrackerAPI.Wrap(fmt.Errorf("%w; it says: %s", err, said(console.Read(s.Dir))),
			"Firecracker ended at once")
	}
	g := &guest{driver: d, spec: s, jail: j, tap: tap, api: api.New(j.path(apiSocket)),
		agent: agent{j.path(vsockSocket)}, pidfd: os.NewFile(uintptr(fd), "pidfd"), frozen: new(bool),
		done: make(chan struct{})}
	g.background.Store(s.Background)
	go g.watch()
	return g, nil
}

// watch waits for Firecracker to end and removes what it leaves.
func (g *guest) watch() {
	err := pidfd.Wait(g.pidfd)
	g.ending.Store(true)
	g.endErr = errors.Join(err, g.driver.removeLeftovers(context.Background(), g.spec.ID))
	g.pidfd.Close()
	close(g.done)
}

// hasEnded tells whether Firecracker has ended or is about to, also while watch is cleaning up.
func (g *guest) hasEnded() bool {
	if g.ending.Load() {
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
		g.ending.Store(true)
		if err := g.driver.end(ctx, g.spec.ID, g.jail.Backend); err != nil {
			return err
		}
	}
	select {
	case <-g.done:
		return g.endErr
	case <-ctx.Done():
		return fmt.Errorf("wait for the guest to end: %w", ctx.Err())
	}
}

// ask asks the guest's first program. A guest in which that does not answer is frozen all the same, as a
// machine.
func (g *guest) ask(ctx context.Context, q control.Request) (control.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, g.driver.opts.Patience)
	defer cancel()
	return g.agent.ask(ctx, q)
}

// unlessGone is what an error says of the guest.
func (g *guest) unlessGone(err error) error {
	if err != nil && g.ended() {
		return errors.Join(runtime.ErrGone, err)
	}
	return err
}

// usageTime bounds the question what is on the guest's disk.
const usageTime = time.Second

// Stats asks the host; and the guest for what it has not written to its disk yet.
func (g *guest) Stats(ctx context.Context) (runtime.Stats, error) {
	if g.ended() {
		return runtime.Stats{}, runtime.ErrGone
	}
	all, clean := g.driver.groups.memoryOf(g.spec.ID)
	s := runtime.Stats{MemoryBytes: all, HeldBytes: all - clean,
		DiskBytes: g.diskBytes()}
	if !g.changing.TryLock() { // it is being frozen or written
		return s, nil
	}
	frozen, err := g.isFrozen()
	g.changing.Unlock()
	if err != nil || frozen {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	if a, err := g.agent.ask(ctx, control.Request{Usage: &control.Empty{}}); err == nil && a.Usage != nil {
		s.DiskBytes = max(s.DiskBytes, min(a.Usage.Disk, g.spec.Resources.DiskMB<<20))
	}
	return s, nil
}

func (g *guest) CPUTime() time.Duration { return g.driver.groups.cpuTime(g.spec.ID) }

func (g *guest) Yield(yields bool) error {
	return g.groupError(g.driver.groups.yield(g.spec.ID, yields, g.background.Load()))
}

func (g *guest) Foreground() error {
	g.background.Store(false)
	return g.groupError(g.driver.groups.foreground(g.spec.ID))
}

// groupError is what a failed change of the guest's cgroup says of it.
func (g *guest) groupError(err error) error {
	return runtime.GroupError(err, g.driver.groups.dir(g.spec.ID), g.done)
}

func (g *guest) Tidy() {
	if !g.ended() {
		console.Trim(g.spec.Dir)
	}
}

// said is what a console has, without the carriage returns of a serial line.
func said(text string) string {
	return strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n")
}

// Console returns the last lines of the guest's console and, once it has ended, that.
func (g *guest) Console() string { return said(console.Read(g.spec.Dir)) }

// digest names bytes in few characters.
func digest(data []byte) string { return fmt.Sprintf("%.12x", sha256.Sum256(data)) }
