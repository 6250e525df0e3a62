package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const examples = repository + "/examples"

// TestExamples runs the programs in examples, but for the chart's, which
// TestCodeInterpreter runs.
func TestExamples(t *testing.T) {
	for file, prints := range map[string][]string{
		"first-sandbox.mjs":   {"1\n2\n3\n", "the file has 6 characters"},
		"pause_and_resume.py": {"written before the pause", "still running: 1"},
		"build_template.py":   {"Hello from /app"},
		"port-preview.mjs":    {"200 <h1>Hello from a sandbox</h1>"},
	} {
		t.Run(file, func(t *testing.T) { server.runExample(t, file, prints...) })
	}
}

// runExample runs a program as a user who has the SDKs would, in a directory of its
// own, and looks for what it prints. It returns the directory.
func (b *box) runExample(t *testing.T, file string, prints ...string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs("../js/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	python, err := filepath.Abs("../python")
	if err != nil {
		t.Fatal(err)
	}
	program := []string{filepath.Join(python, ".venv/bin/python"), filepath.Join(python, "program.py"), file}
	if filepath.Ext(file) == ".mjs" {
		program = []string{"node", file}
	}
	dir := t.TempDir()
	// Node looks for packages beside the program.
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), source, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, b.SDKEnv(), 5*time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out)
	}
	for _, text := range prints {
		if !strings.Contains(string(out), text) {
			t.Errorf("%s does not print %q:\n%s", file, text, out)
		}
	}
	return dir
}
