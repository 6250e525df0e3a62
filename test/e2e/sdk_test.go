package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestJavaScriptSDK runs the suite in test/js with what a user exports.
func TestJavaScriptSDK(t *testing.T) {
	files, err := filepath.Glob("../js/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	server.node(t, files...)
}

// node runs tests by the JavaScript SDK.
func (b *box) node(t *testing.T, files ...string) {
	t.Helper()
	args := append([]string{"--test", "--test-concurrency=1", "--test-timeout=120000", "--test-reporter=spec"}, files...)
	b.run(t, "../js", "node", args...)
}

// TestPythonSDK runs the suite in test/python.
func TestPythonSDK(t *testing.T) {
	python, err := filepath.Abs("../python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("the Python SDK is not installed; run `make test-e2e`: %v", err)
	}
	server.run(t, "../python", python, "-W", "ignore", "-m", "unittest", "-v", "test_sandbox", "test_lifecycle", "test_templates")
}

// run runs a program with what a user exports.
func (b *box) run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, b.SDKEnv(), 5*time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
