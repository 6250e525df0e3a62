package process

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Reaper collects the exit statuses of children. It is the only place that
// waits, so that as process 1 it can collect orphans without taking a status
// that somebody else waits for.
type Reaper struct {
	// Orphans makes it collect every child, as process 1 must. Otherwise only
	// those that Spawn registered are collected.
	Orphans bool

	// mu is held from a child's birth to its registration, and while statuses
	// are collected. So a status never arrives early, and a registered process
	// ID always names our child, alive or not yet collected.
	mu       sync.Mutex
	children map[int]chan syscall.WaitStatus
}

// Run collects statuses until the context ends.
func (r *Reaper) Run(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	for {
		r.collect() // first what died before the notification was set up
		select {
		case <-died:
		case <-ctx.Done():
			return
		}
	}
}

// Spawn runs fork, which returns the process ID of a new child, and returns a
// channel that will receive the child's exit status.
func (r *Reaper) Spawn(fork func() (int, error)) (int, <-chan syscall.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return 0, nil, err
	}
	if r.children == nil {
		r.children = map[int]chan syscall.WaitStatus{}
	}
	exit := make(chan syscall.WaitStatus, 1)
	r.children[pid] = exit
	return pid, exit, nil
}

// Signal sends a signal to a child. It is os.ErrProcessDone when the child's
// status was collected, since its ID may be another process's by now.
func (r *Reaper) Signal(pid int, sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ours := r.children[pid]; !ours {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, sig)
}

func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Orphans {
		for r.wait(-1) {
		}
		return
	}
	for pid := range r.children {
		r.wait(pid)
	}
}

// wait collects one status if there is one, and reports whether it did.
func (r *Reaper) wait(which int) bool {
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(which, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return false
		}
		if exit, ours := r.children[pid]; ours {
			delete(r.children, pid)
			exit <- status // has room for one
		}
		return true
	}
}
