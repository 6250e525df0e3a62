package orchestrator

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
	"shoal/internal/snapshot"
)

// TestSnapshotOfTheDisk: sandboxes of it have the files and nothing else of the original,
// which goes on; so do those that begin ahead, and after a restart.
func TestSnapshotOfTheDisk(t *testing.T) {
	n := newNode(t)
	ctx := context.Background()
	source := n.create()
	n.write(source, "/root/kept", "x")
	n.write(source, "/dev/shm/mark", "in memory")
	boot := n.read(source, "/proc/sys/kernel/random/boot_id")
	build, err := n.orch.Snapshot(ctx, source.SandboxID,
		shoal.SnapshotTarget{TemplateID: "snap", BuildID: shoal.NewBuildID(), DiskOnly: true})
	n.must(err)
	if n.state(source) != shoal.StateRunning || n.read(source, "/dev/shm/mark") != "in memory" {
		t.Error("the original does not go on")
	}
	n.write(source, "/root/kept", "later")
	check := func() (sb shoal.Sandbox) {
		t.Helper()
		spec := n.spec()
		spec.BuildID, spec.TemplateID, spec.EnvdAccessToken = build.ID, "snap", "another"
		sb, err := n.orch.Create(ctx, spec)
		n.must(err)
		if got := n.read(sb, "/root/kept"); got != "x" {
			t.Errorf("the file: %q", got)
		}
		if got := n.read(sb, "/proc/sys/kernel/random/boot_id"); got == boot || got == "" {
			t.Errorf("it has not booted: %q", got)
		}
		if n.answersTo(sb, "secret") {
			t.Error("it takes the token of the sandbox that it was made of")
		}
		return sb
	}
	check()
	n.close()
	n.warm = map[string]int{"snap": 1}
	n.open()
	n.eventually("one is started ahead", func() bool { return n.orch.keeper.warm.Size() == 1 })
	if sb := check(); !strings.HasPrefix(n.orch.table.byID[sb.SandboxID].guest.ID(), "warm-") {
		t.Error("the create took a new guest")
	}
	a, err := n.orch.snapshots.Artifacts().Get(snapshot.BuildName(build.ID))
	n.must(err)
	n.flip(filepath.Join(a.Dir, snapshot.DiskFile), -1)
	spec := n.spec()
	spec.BuildID, spec.TemplateID = build.ID, "snap"
	n.eventually("what is damaged is refused", func() bool {
		_, err := n.orch.Create(ctx, spec) // one more may have been started ahead
		return shoal.ErrSnapshotDamaged.Matches(err)
	})
}
