package tmpfiles

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"shoal/internal/envd/account"
)

// system is a file system of the test's own, in which the user "svc" is the tester.
type system struct {
	System
	t *testing.T
}

func newSystem(t *testing.T, files map[string]string) *system {
	t.Helper()
	root := t.TempDir()
	s := &system{System{Root: root}, t}
	s.put("/etc/passwd", fmt.Sprintf("svc:x:%d:%d::/:/bin/sh\n", os.Getuid(), os.Getgid()))
	s.put("/etc/group", fmt.Sprintf("svc:x:%d:\n", os.Getgid()))
	for name, text := range files {
		s.put(name, text)
	}
	s.Accounts = account.NewDatabase(s.at("/etc/passwd"), s.at("/etc/group"))
	return s
}

func (s *system) put(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.at(name)), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.at(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *system) create(boot bool) []string {
	s.t.Helper()
	names, err := s.Create(s.t.Context(), boot)
	if err != nil {
		s.t.Error(err)
	}
	slices.Sort(names)
	return names
}

// wants checks the mode of a name, or that it is missing ("").
func (s *system) wants(name, mode string) {
	s.t.Helper()
	info, err := os.Lstat(s.at(name))
	switch {
	case mode == "" && err == nil:
		s.t.Errorf("%s is there", name)
	case mode != "" && err != nil:
		s.t.Error(err)
	case mode != "" && info.Mode().String() != mode:
		s.t.Errorf("%s: %s, want %s", name, info.Mode(), mode)
	}
}

func TestCreate(t *testing.T) {
	s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/pkg.conf": `
# what packages of Debian ask for
d /run/postgresql 2775 svc svc - -
d	/run/php	0755	-	-	-	-
d /run/deep/er 0711
D! /var/lib/app 1777 - - 10d -
L /run/shm - - - - /dev/shm
L+ /run/current - - - - new
L? /run/none - - - - /not/there
f /run/app.conf 0640 - - - key = "a\x20b"\n
f "/run/with space" - - - - %t %S %%
f+! /run/utmp 0664 - - -
p /run/fifo 0600 - - -
C /run/copied - - - - /etc/skel.conf
z /etc/skel.conf 0600
a+ /run/log - - - - d:group::r-x
c! /dev/none 0666 - - - 1:3
w /proc/none - - - - 1
x /tmp/keep
f^ /run/secret - - - - a.credential
f+! /run/nologin 0644 - - - "not yet"
d /run/who - no-such-user
`, "/etc/skel.conf": "text"})
	if err := os.MkdirAll(s.at("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old", s.at("/run/current")); err != nil {
		t.Fatal(err)
	}
	names, err := s.Create(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("a user that is not there: %v", err)
	}
	slices.Sort(names)
	want := []string{"app.conf", "copied", "current", "deep/er", "fifo", "php", "postgresql", "shm", "utmp", "who",
		"with space"}
	if !slices.Equal(names, want) {
		t.Errorf("below /run: %q\nwant %q", names, want)
	}
	for name, mode := range map[string]string{"/run/postgresql": "dgrwxrwxr-x", "/run/php": "drwxr-xr-x",
		"/run/deep/er": "drwx--x--x", "/run/deep": "drwxr-xr-x", "/var/lib/app": "dtrwxrwxrwx",
		"/run/app.conf": "-rw-r-----", "/run/fifo": "prw-------", "/etc/skel.conf": "-rw-------",
		"/run/utmp": "-rw-rw-r--", "/run/none": "", "/run/secret": "", "/run/nologin": "", "/dev/none": "",
		"/run/log": ""} {
		s.wants(name, mode)
	}
	for name, want := range map[string]string{"/run/app.conf": "key = \"a b\"\n", "/run/with space": "/run /var/lib %",
		"/run/copied": "text"} {
		if data, err := os.ReadFile(s.at(name)); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for name, want := range map[string]string{"/run/shm": "/dev/shm", "/run/current": "new"} {
		if target, err := os.Readlink(s.at(name)); err != nil || target != want {
			t.Errorf("%s leads to %q, %v", name, target, err)
		}
	}
}

// TestAgain: what is there keeps its content, and gets the mode that is asked for.
func TestAgain(t *testing.T) {
	s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/a.conf": "d /run/a 0700\nf /run/f 0600 - - - first\nd /run/b :0700",
		"/run/a/kept": "x", "/run/f": "changed", "/run/b/x": ""})
	s.create(false)
	s.create(false)
	s.wants("/run/a", "drwx------")
	s.wants("/run/a/kept", "-rw-r--r--")
	s.wants("/run/b", "drwxr-xr-x") // the mode is only for a new one
	if data, _ := os.ReadFile(s.at("/run/f")); string(data) != "changed" {
		t.Errorf("the file became %q", data)
	}
	s.put("/run/d", "a file")
	s.put("/usr/lib/tmpfiles.d/b.conf", "d /run/d")
	if _, err := s.Create(t.Context(), false); err == nil {
		t.Error("a file is taken for a directory")
	}
}

// TestPrecedence: a file in /etc stands for the one of its name elsewhere, one that leads to
// /dev/null for nothing, and the first line for a path counts.
func TestPrecedence(t *testing.T) {
	s := newSystem(t, map[string]string{
		"/usr/lib/tmpfiles.d/a.conf": "d /run/vendor", "/etc/tmpfiles.d/a.conf": "d /run/own 0700",
		"/usr/lib/tmpfiles.d/b.conf": "d /run/own 0755\nd /var/run/old\nd /run/twice 0700\nd /run/twice 0755",
		"/usr/lib/tmpfiles.d/c.conf": "d /run/masked", "/usr/lib/tmpfiles.d/readme": "d /run/readme"})
	if err := os.Symlink("/dev/null", s.at("/etc/tmpfiles.d/c.conf")); err != nil {
		t.Fatal(err)
	}
	if got := s.create(false); !slices.Equal(got, []string{"old", "own", "twice"}) {
		t.Errorf("%q", got)
	}
	s.wants("/run/own", "drwx------")
	s.wants("/run/twice", "drwx------")
}

// TestRemoved: lines that remove count at a boot only, when nobody uses what they name.
func TestRemoved(t *testing.T) {
	s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/a.conf": "r! /tmp/.X[0-9]*-lock\nR /tmp/old-*\nr! /etc/passwd.lock",
		"/tmp/.X0-lock": "", "/tmp/.X12-lock": "", "/tmp/old-1/x": "", "/tmp/mine": ""})
	s.create(false)
	s.wants("/tmp/.X0-lock", "-rw-r--r--")
	s.create(true)
	for _, name := range []string{"/tmp/.X0-lock", "/tmp/.X12-lock", "/tmp/old-1"} {
		s.wants(name, "")
	}
	s.wants("/tmp/mine", "-rw-r--r--")
}

// TestWrongLines keep no other from being carried out, and say what is wrong.
func TestWrongLines(t *testing.T) {
	for wrong, want := range map[string]string{"d": "no path", "d relative": "not absolute", "d /run/x 9999": "mode",
		"d /run/%q": "%q", "d /run/%": "ends with", `d "/run/x`: "quote", "f~ /run/x - - - - !": "base64"} {
		s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/a.conf": wrong + "\nd /run/good"})
		names, err := s.Create(t.Context(), false)
		if err == nil || !strings.Contains(err.Error(), want) || !slices.Equal(names, []string{"good"}) {
			t.Errorf("%q: %q, error %v", wrong, names, err)
		}
	}
}

// TestBounds: neither many lines nor a context that has ended keep the daemon busy.
func TestBounds(t *testing.T) {
	s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/a.conf": strings.Repeat("d /run/a\n", maxLines) + "d /run/b"})
	if names, err := s.Create(t.Context(), false); err == nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("%q, error %v", names, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if names, err := s.Create(ended, false); err == nil || len(names) > 0 {
		t.Errorf("after the end: %q, error %v", names, err)
	}
}

// FuzzLine: no text of a package makes the daemon panic or leave an absolute path.
func FuzzLine(f *testing.F) {
	for _, seed := range []string{"d /run/a 0755 root root - -", `L+ "/a b" - - - - \x41`, "f~ /a - - - - QQ==",
		"Z /x ~2750", "d /%%/%t", "", "d \"\" '' x"} {
		f.Add(seed)
	}
	s := &System{Root: f.TempDir()}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := s.parseLine(text)
		if err == nil && l != nil && (!filepath.IsAbs(l.path) || l.mode&^(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0) {
			t.Errorf("%q became %+v", text, l)
		}
	})
}

// TestFIFO: a pipe in the place of a file does not hold the daemon up.
func TestFIFO(t *testing.T) {
	s := newSystem(t, map[string]string{"/usr/lib/tmpfiles.d/a.conf": "f+ /run/pipe - - - - x"})
	if err := os.MkdirAll(s.at("/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(s.at("/run/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), false); err == nil {
		t.Error("a pipe was written")
	}
}
