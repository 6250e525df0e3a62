package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A sandbox that misbehaves may suffer; its neighbor and the host must not.

type created struct {
	SandboxID       string `json:"sandboxID"`
	EnvdAccessToken string `json:"envdAccessToken"`
	EnvdURL         string `json:"envdURL"`
}

func (i *box) create(t *testing.T) created {
	t.Helper()
	return i.createOf(t, "base")
}

// createOf creates a sandbox from a template.
func (i *box) createOf(t *testing.T, template string) created {
	t.Helper()
	return i.createWith(t, `{"templateID":"`+template+`","timeout":300}`)
}

// createWith creates a sandbox with the given request.
func (i *box) createWith(t *testing.T, request string) created {
	t.Helper()
	status, body := i.call(t, "POST", "/v2/sandboxes", request)
	if status != 201 {
		t.Fatalf("create: %d %s", status, body)
	}
	var c created
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.call(t, "DELETE", "/sandboxes/"+c.SandboxID, "") })
	return c
}

// start runs a shell command in the sandbox and does not wait for it.
func (i *box) start(t *testing.T, c created, user, command string) {
	t.Helper()
	python := `
import os, sys
from e2b import Sandbox
s = Sandbox.connect(sys.argv[1])
s.commands.run(sys.argv[3], user=sys.argv[2], background=True, timeout=0)
`
	cmd := exec.Command("../python/.venv/bin/python", "-c", python, c.SandboxID, user, command)
	cmd.Env = i.SDKEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("starting %q: %v\n%s", command, err, out) // it may already have killed its daemon
	}
}

// healthy checks the neighbor: its daemon must answer within the limit.
func (c created) healthy(limit time.Duration) error {
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(c.EnvdURL + "/health")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func TestHostileGuests(t *testing.T) {
	for _, c := range []struct{ name, user, command string }{
		{"fork bomb", "user", `bomb() { bomb | bomb & }; bomb`},
		{"fork bomb of root", "root", `while true; do sleep 1000 & done`},
		{"memory hog", "user", `python3 -c "x=[]
while True: x.append(bytearray(b'x'*10_000_000))"`},
		{"memory hog in shared memory", "user", `while true; do cat /dev/urandom > /dev/shm/$RANDOM; done`},
		{"disk fill", "root", `while true; do cat /dev/urandom > /fill-$RANDOM; done`},
		{"descriptor hog", "root", `ulimit -n 1000000; python3 -c "
import os
l=[]
while True:
    try: l.append(os.open('/etc/passwd', os.O_RDONLY))
    except OSError: l.append(0) if len(l)<10**7 else exit()"`},
		{"connection hog", "user", `python3 -c "
import socket
l=[]
while True:
    s=socket.socket(); s.setblocking(False)
    try: s.connect(('192.0.2.1',80))
    except OSError: pass
    l.append(s)"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			neighbor, hostile := server.create(t), server.create(t)
			server.start(t, hostile, c.user, c.command)
			for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
				if err := neighbor.healthy(10 * time.Second); err != nil {
					t.Fatalf("the neighbor suffers: %v", err)
				}
			}
			// The host can kill the hostile one at once, and new ones start.
			status, body := server.call(t, "DELETE", "/sandboxes/"+hostile.SandboxID, "")
			if status != 204 && status != 404 {
				t.Errorf("kill: %d %s", status, body)
			}
			server.create(t)
			if _, body := server.call(t, "GET", "/health", ""); !strings.Contains(body,
				"Health check successful") {
				t.Errorf("the API's health: %s", body)
			}
		})
	}
}

// TestManyAtOnce keeps 50 sandboxes alive, each of which answers.
func TestManyAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	const count = 50
	boxes := make([]created, 0, count)
	for range count {
		boxes = append(boxes, server.create(t))
	}
	for n, b := range boxes {
		if err := b.healthy(10 * time.Second); err != nil {
			t.Errorf("sandbox %d of %d: %v", n+1, count, err)
		}
	}
	for _, b := range boxes {
		if status, body := server.call(t, "DELETE", "/sandboxes/"+b.SandboxID, ""); status != 204 {
			t.Errorf("kill: %d %s", status, body)
		}
	}
}
