package orchestrator

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"shoal/internal/runtime"
)

// mortal is a runtime whose first guests end as soon as they have started.
type mortal struct {
	runtime.Runtime
	ends *atomic.Int32
}

func (m mortal) Prepare(ctx context.Context, s runtime.Spec) (runtime.Shell, error) {
	sh, err := m.Runtime.Prepare(ctx, s)
	return mortalShell{sh, m.ends}, err
}

type mortalShell struct {
	runtime.Shell
	ends *atomic.Int32
}

func (m mortalShell) Start(ctx context.Context) (runtime.Guest, error) {
	g, err := m.Shell.Start(ctx)
	if err == nil && m.ends.Add(-1) >= 0 {
		err = g.Kill(ctx)
	}
	return g, err
}

// TestGuestEndsWhileBooting: once is a fault of the moment, twice is told at once and
// with the kernel's end, and leaves nothing.
func TestGuestEndsWhileBooting(t *testing.T) {
	n := newNode(t)
	n.close()
	ends := &atomic.Int32{}
	n.wrap = func(rt runtime.Runtime) runtime.Runtime { return mortal{rt, ends} }
	n.open()
	ctx := context.Background()
	ends.Store(1)
	sb, err := n.orch.Create(ctx, n.spec())
	n.must(err)
	if !n.answers(sb) {
		t.Error("the second guest does not answer")
	}
	ends.Store(2)
	_, err = n.orch.Create(ctx, n.spec())
	if err == nil || !strings.Contains(err.Error(), "ended before its daemon answered") || !strings.Contains(err.Error(), "killed") {
		t.Errorf("after two that ended: %v", err)
	}
	if list, _ := n.orch.List(ctx); len(list) != 1 {
		t.Errorf("%d sandboxes, want 1", len(list))
	}
}
