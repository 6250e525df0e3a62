package process

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	pb "shoal/internal/envdapi/gen/process"
)

// retention is how long a process that ended still answers Connect.
const retention = 30 * time.Second

// Table holds the running processes and, for a while, those that ended.
// The zero value is ready.
type Table struct {
	mu      sync.Mutex
	running map[uint32]*Process
	ended   []endedProcess // oldest first
	closed  bool
	alive   sync.WaitGroup // supervisors
}

type endedProcess struct {
	*Process
	at time.Time
}

// add lists a new process and starts its supervisor. When the daemon is ending
// it kills the process instead and returns false.
func (t *Table) add(p *Process) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = p.kill(syscall.SIGKILL) // the reaper collects it
		p.closeFiles()
		return false
	}
	if t.running == nil {
		t.running = map[uint32]*Process{}
	}
	t.running[p.pid] = p
	// A retained process gives way to one with its ID or tag.
	t.ended = slices.DeleteFunc(t.ended, func(e endedProcess) bool {
		return e.pid == p.pid || (p.tag != nil && e.tag != nil && *p.tag == *e.tag) ||
			time.Since(e.at) > retention
	})
	t.alive.Go(func() { p.supervise(func() { t.retire(p) }) })
	return true
}

func (t *Table) retire(p *Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running[p.pid] == p {
		delete(t.running, p.pid)
	}
	t.ended = append(t.ended, endedProcess{p, time.Now()})
}

// list returns the running processes in the order of their IDs.
func (t *Table) list() []*Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.SortedFunc(maps.Values(t.running),
		func(a, b *Process) int { return cmp.Compare(a.pid, b.pid) })
}

// find returns a running process, or nil.
func (t *Table) find(s *pb.ProcessSelector) *Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.running {
		if selected(p, s) {
			return p
		}
	}
	return nil
}

// findEnded returns the last process that ended within the retention, or nil.
func (t *Table) findEnded(s *pb.ProcessSelector) *Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range slices.Backward(t.ended) {
		if selected(e.Process, s) && time.Since(e.at) <= retention {
			return e.Process
		}
	}
	return nil
}

func selected(p *Process, s *pb.ProcessSelector) bool {
	switch by := s.GetSelector().(type) {
	case *pb.ProcessSelector_Pid:
		return p.pid == by.Pid
	case *pb.ProcessSelector_Tag:
		return p.tag != nil && *p.tag == by.Tag
	}
	return false
}

// Close kills all processes and waits until they are collected or the context
// ends. The reaper must still run.
func (t *Table) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	for _, p := range t.list() {
		_ = p.kill(syscall.SIGKILL)
	}
	collected := make(chan struct{})
	go func() {
		t.alive.Wait()
		close(collected)
	}()
	select {
	case <-collected:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
