package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"shoal/templates"
)

// shellFiles are read before every command that an SDK runs.
var shellFiles = []string{"etc/profile", "etc/bash.bashrc", "etc/skel/.profile", "etc/skel/.bashrc",
	"root/.profile", "root/.bashrc"}

// TestLoginForksNothing: in a guest, a fork takes longer than most commands.
func TestLoginForksNothing(t *testing.T) {
	for _, name := range shellFiles {
		data, err := templates.Base.ReadFile("base/files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(data), "\n") {
			code, _, _ := strings.Cut(line, "#")
			code = strings.ReplaceAll(code, "||", "")
			if strings.Contains(code, "$(") || strings.ContainsAny(code, "`|") {
				t.Errorf("%s:%d forks: %s", name, n+1, line)
			}
		}
	}
}

// TestLoginRunsNoProgram reads the files in a shell that finds no programs.
func TestLoginRunsNoProgram(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	home, dropIns := t.TempDir(), t.TempDir()
	read := func(name string) string {
		data, err := templates.Base.ReadFile("base/files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(data), "/etc/profile.d", dropIns)
	}
	for _, name := range []string{".bashrc", ".profile"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(read("etc/skel/"+name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dropIns, "a.sh"), []byte("DROPPED=in\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{"command": nil, "interactive": {"-i"}} {
		script := read("etc/profile") + read("etc/bash.bashrc") + read("etc/skel/.profile") +
			`echo "$SHELL|$LANG|$PS1|$DROPPED|$PATH"`
		cmd := exec.Command(bash, append(append([]string{"--noprofile", "--norc"}, flags...),
			"-c", script)...)
		cmd.Env = []string{"HOME=" + home, "PATH=/nowhere"}
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if want := `/bin/bash|C.UTF-8|\w \$ |in|/nowhere`; err != nil ||
			strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %q %v, want %q", name, out, err, want)
		}
		for _, line := range strings.Split(complaints.String(), "\n") {
			if line != "" && !strings.Contains(line, "job control") &&
				!strings.Contains(line, "terminal process group") {
				t.Errorf("%s complains: %s", name, line)
			}
		}
	}
}
