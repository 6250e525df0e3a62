package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"shoal/test/installation"
)

// suites are what the shipped templates are tried by.
var suites = map[string][]sdkSuite{
	"desktop":             {{javaScript: "desktop"}, {python: "test_desktop"}},
	"code-interpreter-v1": {{javaScript: "interpreter"}, {python: "test_interpreter"}},
	"mcp-gateway":         {{javaScript: "mcp"}, {python: "test_mcp"}},
}

// sdkSuite is a directory in test/js or a module in test/python.
type sdkSuite struct {
	javaScript, python string
	env                []string // beside what a user exports
}

// command runs the suite. --test-force-exit ends those in JavaScript, because the SDK keeps timers
// of abandoned requests.
func (s sdkSuite) command(ctx context.Context) (*exec.Cmd, error) {
	if s.python != "" {
		python, err := filepath.Abs("../python/.venv/bin/python")
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, python, installation.PythonTests(s.python)...)
		cmd.Dir = "../python"
		return cmd, nil
	}
	dir := filepath.Join("../js", s.javaScript)
	files, err := filepath.Glob(filepath.Join(dir, "*.test.mjs"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no tests in %s: %w", dir, err)
	}
	args := []string{"--test", "--test-force-exit", "--test-concurrency=1", "--test-timeout=1500000",
		"--test-reporter=spec"}
	for _, file := range files {
		args = append(args, filepath.Base(file))
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	return cmd, nil
}

// TestDesktop runs the suites for the desktop SDKs.
func TestDesktop(t *testing.T) { shipped.await(t, "desktop") }

// TestCodeInterpreter runs the suites for the code interpreter SDKs.
func TestCodeInterpreter(t *testing.T) {
	shipped.await(t, "code-interpreter-v1")
	dir := shipped.runExample(t, "chart.py", "chart.png: ")
	if png, err := os.ReadFile(filepath.Join(dir, "chart.png")); err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
		t.Errorf("the chart is not a picture: %v", err)
	}
}

// TestMCP runs the suites for MCP servers in sandboxes.
func TestMCP(t *testing.T) { shipped.await(t, "mcp-gateway") }

// TestFragments runs the suite for the Fragments app's templates that SHOAL_TEST_FRAGMENTS
// names. Each of them installs packages for minutes, so only `make test-fragments` does this.
func TestFragments(t *testing.T) {
	names := fragments()
	if len(names) == 0 {
		t.Skip("builds more templates; run `make test-fragments`")
	}
	shipped.await(t, names...)
	var output string
	err := shipped.try(t.Context(), sdkSuite{javaScript: "fragments", env: []string{"FRAGMENTS=" + strings.Join(names, " ")}}, &output)
	if t.Logf("%s", output); err != nil {
		t.Error(err)
	}
}

// TestBaseTemplate builds programs in several languages with what a plain sandbox has, and
// installs a Python package from source with C in it.
func TestBaseTemplate(t *testing.T) {
	out := server.python(t, `
from e2b import Sandbox
s = Sandbox.create(timeout=300)
s.files.write("c/main.c", '#include <stdio.h>\nint main(void) { puts("C"); }\n')
s.files.write("c/more.cc", '#include <iostream>\nint main() { std::cout << "C++\\n"; }\n')
s.files.write("c/Makefile", "all: main more\n")
s.files.write("six/setup.py", 'from setuptools import Extension, setup\nsetup(name="six7", version="1", ext_modules=[Extension("six7", ["six7.c"])])\n')
s.files.write("six/six7.c", '''
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(6 * 7); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "six7", "", -1, methods};
PyMODINIT_FUNC PyInit_six7(void) { return PyModule_Create(&module); }
''')
def sh(command):
    return s.commands.run(command, timeout=180).stdout.strip()
sh("cd c && make -s")
print(sh("c/main"), sh("c/more"), sh("yarn --version"), sh("gh --version | head -1 | cut -d' ' -f1,2"))
sh("cd six && python3 setup.py -q sdist && pip install -q --no-index --no-build-isolation --no-deps dist/six7-1.tar.gz")
print(sh("python3 -c 'import six7; print(six7.answer())'"))
for tool in ("git", "curl", "npm", "npx", "node", "python3.11", "pip", "jq"):
    sh(f"command -v {tool}")
s.kill()
`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "C C++ 1.22.") ||
		!strings.HasSuffix(strings.Fields(lines[0])[3], "gh") || lines[1] != "42" {
		t.Errorf("the programs printed %q", out)
	}
}
