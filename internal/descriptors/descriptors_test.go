package descriptors

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

const childEnv = "SHOAL_TEST_INHERITS"

// TestMain lets the test binary be the process that inherits, and lists what a program that
// it starts gets.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := KeepInherited(); err != nil {
		fmt.Println(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done; cat <&3")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	given, err := os.Open("given")
	if err != nil {
		fmt.Println(err)
	}
	cmd.ExtraFiles = []*os.File{given}
	_ = cmd.Run() // the output tells
}

// TestKeepInherited: a program that is started gets what it is given on purpose, and nothing
// that its starter inherited.
func TestKeepInherited(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"inherited": "", "given": "the text of what is given"} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), childEnv+"=yes")
	for range 20 {
		f, err := os.Open(dir + "/inherited")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "inherited") ||
		!strings.Contains(text, "the text of what is given") {
		t.Errorf("error %v, output:\n%s", err, text)
	}
}
