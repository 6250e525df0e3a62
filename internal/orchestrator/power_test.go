package orchestrator

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// kept tells whether the disk has a record of the sandbox.
func (n *node) kept(sb shoal.Sandbox) bool {
	_, err := os.Stat(recordPath(n.orch.records.kept, sb.SandboxID))
	return err == nil
}

// cutPower ends everything that does not survive the machine, and starts it again.
func (n *node) cutPower() {
	n.t.Helper()
	n.close()
	n.must(os.RemoveAll(filepath.Join(n.dir, "run")))
	n.open()
}

// TestPowerCut: of what the machine had, the paused sandboxes are left whose snapshots
// were on the disk.
func TestPowerCut(t *testing.T) {
	n := newNode(t)
	n.rest = time.Minute
	n.close()
	n.open()
	paused, running, resumed := n.create(), n.create(), n.create()
	n.write(paused, "/root/kept", "x")
	n.pause(paused)
	n.pause(resumed)
	n.eventually("the snapshots are on the disk", func() bool { return n.kept(paused) && n.kept(resumed) })
	if n.kept(running) {
		t.Error("the disk has a record of a sandbox that runs")
	}
	record, err := os.ReadFile(recordPath(n.orch.records.kept, resumed.SandboxID))
	n.must(err)
	n.resume(resumed)
	n.eventually("the record of the earlier pause is gone", func() bool { return !n.kept(resumed) })
	// If the process dies before that, the next one removes it.
	n.close()
	n.must(os.WriteFile(recordPath(n.orch.records.kept, resumed.SandboxID), record, 0o600))
	n.open()
	if n.kept(resumed) || n.state(resumed) != shoal.StateRunning {
		t.Errorf("a stale record: kept %v, %q", n.kept(resumed), n.state(resumed))
	}

	n.cutPower()
	if n.state(running) != "" || n.state(resumed) != "" || n.state(paused) != shoal.StatePaused {
		t.Errorf("after the power cut: %q, %q, %q", n.state(running), n.state(resumed), n.state(paused))
	}
	paused = n.resume(paused)
	if got := n.read(paused, "/root/kept"); got != "x" {
		t.Errorf("the file: %q", got)
	}
	// Once more, without a process that sees the first pause to its end.
	n.pause(paused)
	n.close()
	n.must(os.Remove(recordPath(n.orch.records.kept, paused.SandboxID)))
	n.open()
	n.eventually("the next process keeps it", func() bool { return n.kept(paused) })
	n.cutPower()
	paused = n.resume(paused)
	if err := n.orch.Kill(t.Context(), paused.SandboxID, shoal.KillRequest); err != nil || n.kept(paused) {
		t.Errorf("after its end: %v, kept %v", err, n.kept(paused))
	}
}
