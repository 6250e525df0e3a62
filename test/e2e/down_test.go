package e2e

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestDown: paused sandboxes survive every way to stop an installation; running ones
// survive neither `shoal down` nor --ephemeral.
func TestDown(t *testing.T) {
	r := another(t, "down", nil)
	pausedOne := func() created {
		c := r.create(t)
		r.write(t, c, "/dev/shm/mark", "in memory")
		r.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/pause", "{}")
		return c
	}
	paused, alive := pausedOne(), r.create(t)
	if err := r.Down(); err != nil { // stops the process too
		t.Fatal(err)
	}
	r.process = nil
	r.nothingRuns(t)
	r.up("--ephemeral")
	if state := r.state(t, alive); state != "gone" {
		t.Errorf("the running sandbox is %s after down", state)
	}
	if state := r.state(t, paused); state != "paused" {
		t.Fatalf("the paused sandbox is %s after down", state)
	}
	r.demand(t, 201, "POST", "/sandboxes/"+paused.SandboxID+"/connect", `{"timeout":300}`)
	r.read(t, paused, "/dev/shm/mark", "in memory")

	second := pausedOne()
	r.stop(syscall.SIGTERM)
	r.nothingRuns(t)
	r.up()
	if state := r.state(t, paused); state != "gone" {
		t.Errorf("the running sandbox is %s after --ephemeral", state)
	}
	r.demand(t, 201, "POST", "/sandboxes/"+second.SandboxID+"/connect", `{"timeout":300}`)
	r.read(t, second, "/dev/shm/mark", "in memory")
}

// nothingRuns checks that no guest and no namespace of the installation is left.
func (b *box) nothingRuns(t *testing.T) {
	t.Helper()
	if out, _ := exec.Command("pgrep", "-af", b.RunDir).Output(); len(out) > 0 {
		t.Errorf("still running:\n%s", out)
	}
	out, err := exec.Command("ip", "-br", "addr").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), " 10.68.") {
		t.Errorf("links are left:\n%s", out)
	}
}
