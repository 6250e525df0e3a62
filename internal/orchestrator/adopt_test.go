package orchestrator

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/proxy"
	"shoal/internal/runtime"
	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// stubborn is a runtime whose guests cannot be adopted while it refuses.
type stubborn struct {
	runtime.Runtime
	refuses *atomic.Bool
}

func (s stubborn) Adopt(ctx context.Context, spec runtime.Spec) (runtime.Guest, error) {
	if s.refuses.Load() {
		return nil, errors.New("the kernel does not answer")
	}
	return s.Runtime.Adopt(ctx, spec)
}

// strand starts the machine's process anew, with a runtime that refuses to adopt.
func (n *node) strand() (refuses *atomic.Bool) {
	n.t.Helper()
	refuses = &atomic.Bool{}
	refuses.Store(true)
	n.close()
	n.wrap = func(rt runtime.Runtime) runtime.Runtime { return stubborn{rt, refuses} }
	n.open()
	return refuses
}

// TestStrandedSandbox: one whose guest cannot be taken over is known, counts, keeps what it
// needs, can be killed and ends at its deadline; it is taken over when that is possible.
func TestStrandedSandbox(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb, killed, expired := n.create(), n.create(), n.create()
	n.write(sb, "/root/kept", "x")
	refuses := n.strand()

	if list, err := n.orch.List(ctx); err != nil || len(list) != 3 || n.orch.table.alive() != 3 {
		t.Errorf("%d sandboxes are known, %v", len(list), err)
	}
	_, routed := n.orch.Router().Resolve(ctx, proxy.Request{SandboxID: sb.SandboxID, Port: 80})
	for what, err := range map[string]error{
		"pause":   n.tryPause(ctx, sb.SandboxID, shoal.PauseOptions{Memory: true}),
		"traffic": routed,
		"policy":  n.orch.SetNetwork(ctx, sb.SandboxID, shoal.Network{}),
	} {
		if !shoal.ErrSandboxUnreachable.Matches(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	n.orch.builds.drop(n.build.ID)
	path, err := n.store.Path(n.build.ImageDigest)
	n.must(err)
	long := time.Now().Add(-time.Hour)
	n.must(os.Chtimes(path, long, long))
	if c, err := n.collect(); err != nil || c.Images != 0 {
		t.Errorf("collected %+v, %v", c, err)
	}

	n.must(n.orch.Kill(ctx, killed.SandboxID, shoal.KillRequest))
	_, err = n.orch.SetDeadline(ctx, expired.SandboxID, shoal.DeadlineChange{Timeout: time.Millisecond})
	n.must(err)
	for _, over := range []shoal.Sandbox{killed, expired} {
		n.eventually("its end", func() bool { return n.state(over) == "" })
		n.gone(over)
		if len(n.liveKernels(over.SandboxID)) != 0 {
			t.Error("a guest is left of a sandbox that was stranded")
		}
	}

	n.close()
	n.open() // its record still says where the guest is
	if n.state(sb) != shoal.StateRunning || n.answers(sb) != true {
		t.Error("the stranded sandbox is lost by another start")
	}
	refuses.Store(false)
	n.eventually("it is taken over", func() bool { return len(n.orch.table.stranded()) == 0 })
	n.pause(sb)
	sb = n.resume(sb)
	if got := n.read(sb, "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
}

// TestStrandedInAPause: a pause that was cut off is undone when its guest is taken over, also
// by the process after the next.
func TestStrandedInAPause(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	s := n.orch.table.byID[sb.SandboxID]
	s.saved = &snapshot.Saved{Artifact: snapshot.PauseName(sb.SandboxID), Memory: true}
	n.must(s.guest.Freeze(context.Background()))
	n.must(n.orch.records.saveAs(s, shoal.StatePausing))
	refuses := n.strand()
	_, err := n.orch.SetDeadline(context.Background(), sb.SandboxID, shoal.DeadlineChange{Timeout: sandboxTime})
	n.must(err) // writes the record
	n.close()
	n.open()
	refuses.Store(false)
	n.eventually("it goes on", func() bool { return n.answers(sb) })
	if got := n.state(sb); got != shoal.StateRunning {
		t.Errorf("state = %q", got)
	}
}

// TestStrandedGuestEnds: nothing is left of a sandbox whose guest ends before it can be taken
// over.
func TestStrandedGuestEnds(t *testing.T) {
	n := newNode(t)
	sb := n.create()
	refuses := n.strand()
	for _, pid := range n.liveKernels(sb.SandboxID) {
		n.must(unix.Kill(pid, unix.SIGKILL))
	}
	refuses.Store(false)
	n.eventually("its end", func() bool { return n.state(sb) == "" })
	n.gone(sb)
}
