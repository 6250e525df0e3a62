package image

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"shoal/internal/shoal"
)

// fakePackages is the small part of a Debian root that the layout edits.
var fakePackages = map[string]string{
	"etc/passwd":                             "root:x:0:0:root:/root:/bin/bash\n",
	"etc/group":                              "root:x:0:\nsudo:x:27:\n",
	"etc/shadow":                             "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n",
	"etc/gshadow":                            "root:*::\nsudo:*::\n",
	"etc/machine-id":                         "uninitialized\n",
	"etc/profile":                            "id -u\n",
	"etc/apt/apt.conf.d/99mmdebstrap":        "Acquire::http::Proxy \"http://secret.test\";\n",
	"etc/apt/sources.list":                   "deb http://mirror.internal/debian bookworm main\n",
	"usr/bin/python3":                        "python",
	"usr/lib/python3.11/EXTERNALLY-MANAGED":  "no",
	"usr/local/lib/node_modules/npm/bin/npm": "npm",
	"run/leftover":                           "x",
	"tmp/leftover":                           "x",
	"var/lib/apt/lists/a_Packages":           "x",
}

// fakeStore has the root directory with the packages, as if it was bootstrapped.
func fakeStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key, err := recipeKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range fakePackages {
		path := filepath.Join(s.dir, rootsDir, key, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func ensure(t *testing.T, s *Store, o Options) Result {
	t.Helper()
	r, err := NewBuilder(s, slog.New(slog.DiscardHandler)).EnsureBase(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// paths lists the content of an image.
func paths(t *testing.T, s *Store, digest string) map[string]string {
	t.Helper()
	path, err := s.Path(digest)
	if err != nil {
		t.Fatal(err)
	}
	return readBack(t, path)
}

func TestBaseLayout(t *testing.T) {
	s := fakeStore(t)
	r := ensure(t, s, Options{Envd: []byte("the daemon")})
	if r.DefaultUser != "user" || r.DefaultWorkdir != "/home/user" || r.PackagesTook != 0 {
		t.Errorf("result %+v", r)
	}
	got := paths(t, s, r.Digest)
	for name, want := range map[string]string{
		"/home/user":                          "40755 1000:1000",
		"/home/user/.bashrc":                  "100644 1000:1000",
		"/home/user/.profile":                 "100644 1000:1000",
		"/root/.bashrc":                       "100644 0:0",
		"/usr/local":                          "40777 0:0",
		"/usr/local/lib/node_modules/npm/bin": "40777 0:0",
		"/code":                               "40777 0:0",
		"/tmp":                                "41777 0:0",
		"/tmp/.X11-unix":                      "41777 0:0",
		"/run/e2b":                            "40755 0:0",
		"/run/user/1000":                      "40700 1000:1000",
		"/usr/bin/envd":                       "100755 0:0",
		"/etc/sudoers.d/user":                 "100440 0:0",
		"/.e2b":                               "100644 0:0",
		"/etc/resolv.conf":                    "100644 0:0",
		"/var/lib/apt/lists/partial":          "40755 0:0",
	} {
		if !strings.HasPrefix(got[name], want+" ") {
			t.Errorf("%s is %.60q, want %q", name, got[name], want)
		}
	}
	for name, want := range map[string]string{"/usr/bin/python": "python3",
		"/etc/mtab": "../proc/self/mounts"} {
		if !strings.HasSuffix(got[name], " -> "+want) {
			t.Errorf("%s is %q", name, got[name])
		}
	}
	for _, name := range []string{"/etc/machine-id", "/etc/apt/apt.conf.d/99mmdebstrap", "/run/leftover",
		"/tmp/leftover",
		"/var/lib/apt/lists/a_Packages", "/usr/lib/python3.11/EXTERNALLY-MANAGED", "/etc/pip.conf",
		"/etc/environment"} {
		if _, there := got[name]; there {
			t.Errorf("%s is in the image", name)
		}
	}
}

// TestBaseFiles checks files that the layout edits or replaces.
func TestBaseFiles(t *testing.T) {
	s := fakeStore(t)
	key, err := recipeKey()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := baseTree(t.Context(), filepath.Join(s.dir, rootsDir, key), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/passwd":  "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000::/home/user:/bin/bash\n",
		"etc/group":   "root:x:0:\nsudo:x:27:user\nuser:x:1000:\n",
		"etc/shadow":  "root::19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nuser::19000:0:99999:7:::\n",
		"etc/gshadow": "root:*::\nsudo:*::user\nuser:!::\n",
		"etc/subuid":  "user:100000:65536\n",
		"etc/subgid":  "user:100000:65536\n",
	} {
		if got, err := tree.Read(name); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"etc/apt/sources.list": "http://deb.debian.org/debian bookworm main",
		"etc/hosts":            "127.0.1.1\te2b.local",
		"etc/hostname":         "e2b.local",
		"etc/resolv.conf":      "nameserver 8.8.8.8",
		"etc/sudoers.d/user":   "NOPASSWD: ALL",
	} {
		if got, err := tree.Read(name); err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestBaseIsMadeOnce goes through the reasons to make an image again.
func TestBaseIsMadeOnce(t *testing.T) {
	s := fakeStore(t)
	steps := 0
	count := func(Progress) { steps++ }
	first := ensure(t, s, Options{Envd: []byte("1"), Progress: count})
	if steps == 0 {
		t.Error("the first build shows no progress")
	}
	steps = 0
	if again := ensure(t, s, Options{Envd: []byte("1"), Progress: count}); again.Digest != first.Digest ||
		steps != 0 {
		t.Errorf("equal inputs: %+v after %d steps", again, steps)
	}
	other := ensure(t, s, Options{Envd: []byte("2"), Progress: count})
	if other.Digest == first.Digest || steps == 0 {
		t.Error("another daemon gives the same image")
	}
	if err := s.Remove(first.Digest); err != nil {
		t.Fatal(err)
	}
	steps = 0
	if again := ensure(t, s, Options{Envd: []byte("1"), Progress: count}); again.Digest != first.Digest ||
		steps == 0 {
		t.Errorf("a lost image: %+v after %d steps", again, steps)
	}
	records, err := filepath.Glob(filepath.Join(s.dir, imagesDir, "base-*.json"))
	if err != nil || len(records) != 2 {
		t.Fatal(records, err)
	}
	for _, r := range records {
		if err := os.WriteFile(r, nil, 0o644); err != nil { // as a power failure may leave it
			t.Fatal(err)
		}
	}
	steps = 0
	if again := ensure(t, s, Options{Envd: []byte("1"), Progress: count}); again.Digest != first.Digest ||
		steps == 0 {
		t.Errorf("a torn record: %+v after %d steps", again, steps)
	}
}

func TestEnsureBaseRefuses(t *testing.T) {
	s := fakeStore(t)
	missing := filepath.Join(t.TempDir(), "missing.crt")
	_, err := NewBuilder(s, slog.New(slog.DiscardHandler)).EnsureBase(t.Context(),
		Options{CAFiles: []string{missing}})
	if !shoal.ErrImageBuild.Matches(err) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing authority: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("left: %v %v", list, err)
	}
}
