package orchestrator

import (
	"context"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestKeptBytes: a machine says what paused sandboxes and builds take on its disk, after a
// restart too.
func TestKeptBytes(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	sb := n.create()
	kept := func() int64 {
		t.Helper()
		view, err := n.orch.Get(ctx, sb.SandboxID)
		n.must(err)
		return view.KeptBytes
	}
	onDisk := func(of func(name string) bool) (sum int64) {
		t.Helper()
		list, err := n.orch.snapshots.Artifacts().List()
		n.must(err)
		for _, m := range list {
			if of(m.ID) {
				sum += m.Size()
			}
		}
		return sum
	}
	isPause := func(name string) bool {
		_, ok := snapshot.PauseOf(name)
		return ok
	}
	if got := kept(); got != 0 {
		t.Errorf("%d bytes are kept of a running sandbox", got)
	}
	made, err := n.orch.Snapshot(ctx, sb.SandboxID, shoal.SnapshotTarget{TemplateID: "snap", BuildID: "b1"})
	n.must(err)
	n.write(sb, "/root/file", string(make([]byte, 1<<20)))
	n.pause(sb)
	if got := kept(); got < 1<<20 {
		t.Errorf("a pause with a file of 1 MiB took %d bytes", got)
	}
	n.rested(sb) // its disk is beside it
	paused := onDisk(isPause)
	if got := kept(); got != paused {
		t.Errorf("%d bytes are kept, not %d", got, paused)
	}

	n.close()
	n.open()
	if got := kept(); got != paused {
		t.Errorf("%d bytes are kept after a restart, not %d", got, paused)
	}
	info, err := n.orch.Info(ctx)
	n.must(err)
	for _, b := range append(info.Builds, made) {
		if b.ID != made.ID {
			continue
		}
		want := onDisk(func(name string) bool { return name == snapshot.BuildName(made.ID) })
		if b.Size == nil || b.Size.Snapshot != want || len(b.Size.Images) != 1 || b.Size.Images[0] == 0 {
			t.Errorf("the snapshot takes %+v, not %d", b.Size, want)
		}
	}
	n.resume(sb)
	if got := kept(); got != 0 {
		t.Errorf("%d bytes are kept after a resume", got)
	}
}
