package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// suite runs the JavaScript suites of a directory. --test-force-exit ends them, because the
// SDK keeps timers of abandoned requests.
func suite(t *testing.T, name string, env ...string) {
	t.Helper()
	dir := filepath.Join("../js", name)
	files, err := filepath.Glob(filepath.Join(dir, "*.test.mjs"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	args := []string{"--test", "--test-force-exit", "--test-concurrency=1", "--test-timeout=1500000",
		"--test-reporter=spec"}
	for _, file := range files {
		args = append(args, filepath.Base(file))
	}
	shipped.run(t, dir, env, "node", args...)
}

// pythonSuite runs a module in test/python.
func pythonSuite(t *testing.T, module string) {
	t.Helper()
	python, err := filepath.Abs("../python/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	shipped.run(t, "../python", nil, python, "-W", "ignore", "-m", "unittest", "-v", module)
}

// TestDesktop runs the suites for the desktop SDKs.
func TestDesktop(t *testing.T) {
	shipped.await(t, "desktop")
	suite(t, "desktop")
	pythonSuite(t, "test_desktop")
}

// TestCodeInterpreter runs the suites for the code interpreter SDKs.
func TestCodeInterpreter(t *testing.T) {
	shipped.await(t, "code-interpreter-v1")
	suite(t, "interpreter")
	pythonSuite(t, "test_interpreter")
	dir := shipped.runExample(t, "chart.py", "chart.png: ")
	if png, err := os.ReadFile(filepath.Join(dir, "chart.png")); err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
		t.Errorf("the chart is not a picture: %v", err)
	}
}

// TestMCP runs the suites for MCP servers in sandboxes.
func TestMCP(t *testing.T) {
	shipped.await(t, "mcp-gateway")
	suite(t, "mcp")
	pythonSuite(t, "test_mcp")
}

// TestFragments runs the suite for the Fragments app's templates that SHOAL_TEST_FRAGMENTS
// names. Each of them installs packages for minutes, so only `make test-fragments` does this.
func TestFragments(t *testing.T) {
	names := fragments()
	if len(names) == 0 {
		t.Skip("builds more templates; run `make test-fragments`")
	}
	shipped.await(t, names...)
	suite(t, "fragments", "FRAGMENTS="+strings.Join(names, " "))
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
