package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"shoal/test/installation"
)

// TestSDKs runs the suites in test/js and test/python concurrently, with the environment
// that a user exports. Both use all that the machine has, so no shipped template is tried meanwhile.
func TestSDKs(t *testing.T) {
	shipped.trying.Lock()
	t.Cleanup(shipped.trying.Unlock) // after both
	for name, suite := range map[string]func(*testing.T){"JavaScript": javaScriptSDK, "Python": pythonSDK} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suite(t)
		})
	}
}

func javaScriptSDK(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../js/*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests: %v", err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	server.node(t, files...)
}

// node runs test files that use the JavaScript SDK.
func (b *box) node(t *testing.T, files ...string) {
	t.Helper()
	args := append([]string{"--test", "--test-concurrency=1", "--test-timeout=600000",
		"--test-reporter=spec"}, files...)
	b.run(t, "../js", nil, "node", args...)
}

func pythonSDK(t *testing.T) {
	t.Helper()
	python, err := filepath.Abs("../python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("the Python SDK is not installed; run `make test-e2e`: %v", err)
	}
	server.run(t, "../python", nil, python, installation.PythonTests(
		"test_sandbox", "test_bounds", "test_requests", "test_input", "test_lifecycle", "test_randomness",
		"test_templates", "test_dockerfile", "test_volumes")...)
}

// run runs a program with the environment that a user exports, plus env.
func (b *box) run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(b.SDKEnv(), env...), 5*time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
