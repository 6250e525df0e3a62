package orchestrator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/proxy"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
)

// slow is a runtime that takes its time to adopt some guests.
type slow struct {
	runtime.Runtime
	sandboxes []shoal.Sandbox // whose guests wait
	let       chan struct{}   // closed when they may be adopted
}

func (r slow) Adopt(ctx context.Context, spec runtime.Spec) (runtime.Guest, error) {
	for _, sb := range r.sandboxes {
		if !strings.HasPrefix(spec.ID, sb.SandboxID) {
			continue
		}
		select {
		case <-r.let:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return r.Runtime.Adopt(ctx, spec)
}

// TestServesDuringRecovery: while some guests are still to be adopted, the other sandboxes are
// served, new ones take nothing from them, and whoever needs one of them waits for it.
func TestServesDuringRecovery(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	quick, waiting, paused, died := n.create(), n.create(), n.create(), n.create()
	n.close()
	for _, pid := range n.kernels(died.SandboxID) {
		n.must(unix.Kill(pid, unix.SIGKILL))
	}
	let := make(chan struct{})
	n.wrap = func(rt runtime.Runtime) runtime.Runtime {
		return slow{rt, []shoal.Sandbox{waiting, paused, died}, let}
	}
	n.open()

	if list, err := n.orch.List(ctx); err != nil || len(list) != 4 {
		t.Errorf("%d sandboxes are listed, %v", len(list), err)
	}
	route := func(ctx context.Context, sb shoal.Sandbox) error {
		_, err := n.orch.Router().Resolve(ctx, proxy.Request{SandboxID: sb.SandboxID, Port: 80})
		return err
	}
	if err := route(ctx, quick); err != nil || !n.answers(quick) {
		t.Errorf("one that is recovered: %v", err)
	}
	for range 4 { // more than there are free slots before those that are taken
		sb := n.create()
		if sb.HostIP == waiting.HostIP || sb.HostIP == paused.HostIP || sb.HostIP == died.HostIP {
			t.Error("a new sandbox has the slot of one that is not recovered yet")
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := route(short, waiting); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request without patience: %v", err)
	}
	var wg sync.WaitGroup
	var routed, suspended, lost error
	var over atomic.Int32
	for _, ask := range []func(){
		func() { routed = route(ctx, waiting) },
		func() { suspended = n.tryPause(ctx, paused.SandboxID, shoal.PauseOptions{Memory: true}) },
		func() { lost = route(ctx, died) },
	} {
		wg.Go(func() {
			ask()
			over.Add(1)
		})
	}
	time.Sleep(100 * time.Millisecond) // so that what does not wait is over
	if over.Load() != 0 {
		t.Error("requests do not wait for the recovery")
	}
	close(let)
	wg.Wait()
	if routed != nil || suspended != nil || n.state(paused) != shoal.StatePaused {
		t.Errorf("traffic: %v; a pause: %v", routed, suspended)
	}
	if !shoal.ErrSandboxNotFound.Matches(lost) {
		t.Errorf("traffic to one that has ended: %v", lost)
	}
	if !n.answers(waiting) {
		t.Error("the sandbox that was waited for does not answer")
	}
	n.gone(died)
}

// TestRecoveryIsCutOff: a process that ends while it recovers leaves the sandboxes to the next.
func TestRecoveryIsCutOff(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	n.close()
	n.wrap = func(rt runtime.Runtime) runtime.Runtime {
		return slow{rt, []shoal.Sandbox{sb}, make(chan struct{})}
	}
	n.open()
	n.close()
	n.wrap = nil
	n.open()
	if n.state(sb) != shoal.StateRunning || !n.answers(sb) {
		t.Error("the sandbox is lost")
	}
}

// TestSlotOfTwoRecords: the end of a guest that is gone takes nothing from the sandbox that has
// got its slot before its record was removed.
func TestSlotOfTwoRecords(t *testing.T) {
	n := newNode(t)
	sb, gone := n.create(), n.create()
	n.orch.table.byID[gone.SandboxID].last.SlotIndex = n.orch.table.byID[sb.SandboxID].last.SlotIndex
	n.must(n.orch.records.save(n.orch.table.byID[gone.SandboxID]))
	n.close()
	for _, pid := range n.kernels(gone.SandboxID) {
		n.must(unix.Kill(pid, unix.SIGKILL))
	}
	n.open()
	n.eventually("the end of the one that is gone", func() bool { return n.state(gone) == "" })
	n.gone(gone)
	if n.state(sb) != shoal.StateRunning || !n.answers(sb) {
		t.Error("the sandbox has lost its slot")
	}
}

// together is a runtime whose Adopt waits for a second one.
type together struct {
	runtime.Runtime
	inside *atomic.Int32
	met    chan struct{}
}

func (r together) Adopt(ctx context.Context, spec runtime.Spec) (runtime.Guest, error) {
	if r.inside.Add(1) == 2 {
		close(r.met)
	}
	select {
	case <-r.met:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.Runtime.Adopt(ctx, spec)
}

// TestRecoverySideBySide: no sandbox waits for another to be taken over.
func TestRecoverySideBySide(t *testing.T) {
	n := newNode(t)
	one, two := n.create(), n.create()
	n.close()
	n.wrap = func(rt runtime.Runtime) runtime.Runtime {
		return together{rt, &atomic.Int32{}, make(chan struct{})}
	}
	n.open()
	for _, sb := range []shoal.Sandbox{one, two} {
		if n.state(sb) != shoal.StateRunning || !n.answers(sb) {
			t.Error("a sandbox is lost")
		}
	}
	if len(n.orch.table.stranded()) != 0 {
		t.Error("they were taken over one after the other")
	}
}
