package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// python runs a program with the SDK and the environment that a user exports.
func (i *box) python(t *testing.T, program string) string {
	t.Helper()
	cmd := exec.Command("../python/.venv/bin/python", "-c", program)
	cmd.Env, cmd.WaitDelay = i.SDKEnv(), time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return string(out)
}

// TestSurvival kills `shoal up` by SIGKILL while a sandbox works, and stops it by a signal
// while another does. Both continue under the next process, and so do paused sandboxes.
func TestSurvival(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			c := server.create(t)
			server.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
s.commands.run("i=0; while true; do i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; sleep 0.1; done", background=True, timeout=0)
`)
			pid := strings.TrimSpace(server.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
h = s.commands.run("echo before; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo later; echo wrong >&2; exit 7", background=True, timeout=0)
print(h.pid)
`))
			paused := server.create(t)
			server.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+paused.SandboxID+`")
s.files.write("/dev/shm/mark", "in memory")
s.pause()
`)
			end := detail(t, c.SandboxID)["endAt"]
			_ = up.Stop(sig, 30*time.Second)
			if err := startServer(); err != nil {
				t.Fatal(err)
			}
			if out := up.Output(); strings.Contains(out, "Building the base template") {
				t.Error("the second start built the base template again")
			}
			after := detail(t, c.SandboxID)
			if after["state"] != "running" || after["endAt"] != end {
				t.Errorf("after the restart: %v; the deadline was %v", after, end)
			}
			out := server.python(t, `
from e2b import CommandExitException, Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
h = s.commands.connect(`+pid+`, timeout=0)
s.files.write("/tmp/go", "")
try: h.wait()
except CommandExitException as e: print(e.exit_code, e.stdout.splitlines()[-1:], e.stderr.splitlines())
`)
			if strings.TrimSpace(out) != "7 ['later'] ['wrong']" {
				t.Errorf("the stream that was attached again: %q", out)
			}
			out = server.python(t, `
import time
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
first = now = int(s.files.read("/tmp/count"))
end = time.monotonic() + 30
while now == first and time.monotonic() < end: now = int(s.files.read("/tmp/count"))
print(now > first, len(s.commands.list()))
`)
			if strings.TrimSpace(out) != "True 1" {
				t.Errorf("the process in the sandbox: %q", out)
			}
			if state := detail(t, paused.SandboxID)["state"]; state != "paused" {
				t.Errorf("the paused sandbox is %v", state)
			}
			out = server.python(t, `
from e2b import Sandbox
print(Sandbox.connect("`+paused.SandboxID+`").files.read("/dev/shm/mark"))
`)
			if strings.TrimSpace(out) != "in memory" {
				t.Errorf("the memory of the paused sandbox: %q", out)
			}
		})
	}
}

// TestDeadlinesWhileDown lets the time of two sandboxes end while Shoal is not running: the
// next process kills or pauses them when it starts.
func TestDeadlinesWhileDown(t *testing.T) {
	kills := server.create(t)
	pauses := server.createWith(t, `{"templateID":"base","timeout":300,"autoPause":true}`)
	server.write(t, pauses, "/dev/shm/mark", "in memory")
	for _, c := range []created{kills, pauses} {
		server.demand(t, 204, "POST", "/sandboxes/"+c.SandboxID+"/timeout", `{"timeout":1}`)
	}
	deadline := time.Now().Add(time.Second)
	up.Kill()
	time.Sleep(time.Until(deadline)) // the deadline must pass while Shoal is down
	if err := startServer(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "one is ended, the other is paused", func() bool {
		return server.state(t, kills) == "gone" && server.state(t, pauses) == "paused"
	})
	server.demand(t, 201, "POST", "/sandboxes/"+pauses.SandboxID+"/connect", `{"timeout":300}`)
	server.read(t, pauses, "/dev/shm/mark", "in memory")
}

func detail(t *testing.T, id string) map[string]any {
	t.Helper()
	status, body := server.call(t, "GET", "/sandboxes/"+id, "")
	if status != 200 {
		t.Fatalf("detail: %d %s", status, body)
	}
	var d map[string]any
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		t.Fatal(err)
	}
	return d
}
