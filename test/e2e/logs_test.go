package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// logged returns the lines of a sandbox's log as the official command line prints them.
func logged(t *testing.T, sandboxID string, args ...string) (messages []string, lines []map[string]any) {
	t.Helper()
	out, err := server.cli(t, t.TempDir(), append([]string{"sandbox", "logs", "--format", "json", sandboxID},
		args...)...)
	if err != nil {
		t.Fatalf("e2b sandbox logs: %v\n%s", err, out)
	}
	for text := range strings.Lines(out) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) == nil {
			lines = append(lines, line)
			message, _ := line["message"].(string)
			messages = append(messages, message)
		}
	}
	return messages, lines
}

// TestLogs: the log has what ran in a sandbox and how it ended, even after the sandbox is
// gone, and what a program in it reports.
func TestLogs(t *testing.T) {
	c := server.create(t)
	server.python(t, `
import os
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
try:
    s.commands.run("exit 3")
except Exception as e:
    assert "3" in str(e), e
s.commands.run("""curl -sf -X POST http://events.e2b.local/logs -d '{"level":"warn","message":"my own words","part":7,"instanceID":"another"}'""")
`)
	var lines []map[string]any
	has := func(what string, fields map[string]any) bool {
		return slices.ContainsFunc(lines, func(line map[string]any) bool {
			for key, want := range fields {
				if line[key] != want {
					return false
				}
			}
			return line["message"] == what
		})
	}
	eventually(t, 20*time.Second, "the last process is in the log", func() bool {
		_, lines = logged(t, c.SandboxID, "--level", "DEBUG")
		return has("Process ended", map[string]any{"exit_code": 3.0}) &&
			has("my own words", map[string]any{"part": 7.0})
	})
	for what, fields := range map[string]map[string]any{"Sandbox created": {"logger": "orchestrator"},
		"Process started": {"command": "exit 3", "user": "user", "cwd": "/home/user", "logger": "process"}} {
		if !has(what, fields) {
			t.Errorf("no line %q with %v among\n%v", what, fields, lines)
		}
	}
	if _, warnings := logged(t, c.SandboxID, "--level", "WARN"); len(warnings) != 1 ||
		warnings[0]["message"] != "my own words" {
		t.Errorf("warnings: %v", warnings)
	}

	// Following prints every line once, until the sandbox ends.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	binary, err := filepath.Abs("../js/node_modules/.bin/e2b")
	if err != nil {
		t.Fatal(err)
	}
	follow := exec.CommandContext(ctx, binary, "sandbox", "logs", "--follow", "--format", "json", c.SandboxID)
	follow.Env = append(server.SDKEnv(), "HOME="+t.TempDir(), "NO_COLOR=1")
	ended := make(chan string, 1)
	go func() {
		out, _ := follow.CombinedOutput()
		ended <- string(out)
	}()
	server.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
for i in range(20):
    s.commands.run(f"true {i}")
`)
	eventually(t, 20*time.Second, "the processes are in the log", func() bool {
		_, lines = logged(t, c.SandboxID)
		return has("Process started", map[string]any{"command": "true 19"})
	})
	if status, body := server.call(t, "DELETE", "/sandboxes/"+c.SandboxID, ""); status != 204 {
		t.Errorf("kill: %d %s", status, body)
	}
	out := <-ended
	for _, command := range []string{"true 0", "true 7", "true 19"} {
		if n := strings.Count(out, `"command":"`+command+`"`); n != 1 {
			t.Errorf("%q was printed %d times:\n%s", command, n, out)
		}
	}
	eventually(t, 10*time.Second, "the end is in the log", func() bool {
		_, lines = logged(t, c.SandboxID)
		return has("Sandbox ended", map[string]any{"reason": "request"})
	})
	status, body := server.call(t, "GET", "/v2/sandboxes/"+c.SandboxID+"/logs?limit=2&search=Sandbox", "")
	var answer struct {
		Logs []struct {
			Message string
			Fields  map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || len(answer.Logs) != 2 ||
		answer.Logs[0].Message != "Sandbox ended" || answer.Logs[1].Fields["template"] != "base" {
		t.Errorf("newest first: %d %s", status, body)
	}
}
