package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"shoal/internal/shoal"
)

// bare runs the official command line with no environment but the path, a home directory
// and the given variables.
func (i *box) bare(t *testing.T, home, stdin string, env []string, args ...string) (string, error) {
	t.Helper()
	binary, err := filepath.Abs("../js/node_modules/.bin/e2b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.WaitDelay = home, time.Second
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "E2B_API_URL=http://" + i.API,
		"E2B_SANDBOX_URL=http://" + i.Proxy}, env...)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

var withKey = []string{"E2B_API_KEY=" + shoal.DevAPIKey}

// TestCommandLineTemplates builds from a Dockerfile of one line (C1), and creates the files
// of a new project.
func TestCommandLineTemplates(t *testing.T) {
	home := t.TempDir()
	must := func(want string, args ...string) string {
		t.Helper()
		out, err := server.bare(t, home, "", withKey, args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("e2b %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
		}
		return out
	}
	context := filepath.Join(home, "context")
	if err := os.Mkdir(context, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(context, "e2b.Dockerfile"),
		[]byte("FROM ubuntu:latest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	must("✅ Building sandbox template", "template", "create", "from-ubuntu", "--path", context)
	must("", "template", "delete", "--yes", "from-ubuntu")
	for language, file := range map[string]string{"typescript": "template.ts", "python-sync": "template.py",
		"python-async": "build_dev.py"} {
		name := "new-" + language
		must("", "template", "init", "--name", name, "--language", language, "--path", home)
		if _, err := os.Stat(filepath.Join(home, name, file)); err != nil {
			t.Errorf("%s: %v", language, err)
		}
	}
}

// TestCommandLineSandboxes takes a sandbox through its whole life.
func TestCommandLineSandboxes(t *testing.T) {
	home := t.TempDir()
	run := func(stdin string, args ...string) string {
		t.Helper()
		out, err := server.bare(t, home, stdin, withKey, args...)
		if err != nil {
			t.Fatalf("e2b %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	id := strings.TrimSpace(run("", "sandbox", "create", "-d"))
	if !regexp.MustCompile(`^i?[a-z0-9]{15,}$`).MatchString(id) {
		t.Fatalf("create -d printed %q", id)
	}
	has := func(out, want string) {
		t.Helper()
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	has(run("", "sandbox", "info", id), id)
	if out := run("one\ntwo\n", "sandbox", "exec", id, "wc", "-l"); strings.TrimSpace(out) != "2" {
		t.Errorf("exec of piped lines: %q", out)
	}
	run("", "sandbox", "exec", id, "sh", "-c", "echo kept > kept")
	run("", "sandbox", "pause", id)
	has(run("", "sandbox", "list", "--state", "paused"), id)
	run("", "sandbox", "resume", id)
	has(run("", "sandbox", "exec", id, "cat", "kept"), "kept")
	snapshot := regexp.MustCompile(`[a-z0-9_/-]+:[a-z0-9-]+|[a-z0-9]{20}`).FindString(run("", "sandbox",
		"snapshot", "create", id))
	if snapshot == "" {
		t.Fatal("snapshot create printed no snapshot")
	}
	has(run("", "sandbox", "snapshot", "list"), snapshot)
	run("", "sandbox", "snapshot", "delete", snapshot)
	has(run("", "sandbox", "kill", id), id)
}

// TestCommandLineLogin reads the file that a login writes, in both of its versions (K18).
func TestCommandLineLogin(t *testing.T) {
	const common = `"identity":{"email":"dev@example.test"},"oauth":{"token_endpoint":"","revoke_endpoint":"","client_id":""},` +
		`"tokens":{"access_token":"","refresh_token":""},"last_refresh":"2026-09-01T00:00:00.000Z"`
	for version, words := range map[int]string{1: "team", 2: "project"} {
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, ".e2b"), 0o700); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"version":%d,%s,"%sName":"dev","%sId":"%s","%sApiKey":"%s"}`, version, common,
			words, words, shoal.DevTeamID, words, shoal.DevAPIKey)
		if err := os.WriteFile(filepath.Join(home, ".e2b", "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := server.bare(t, home, "", nil, "template", "list"); err != nil ||
			!strings.Contains(out, "base") {
			t.Errorf("version %d: %v\n%s", version, err, out)
		}
	}
}
