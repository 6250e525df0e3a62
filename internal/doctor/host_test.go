package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/artifact"
)

// TestForwarding: a host whose settings are read-only, as many containers', is told.
func TestForwarding(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ip_forward")
	for content, level := range map[string]Level{"1\n": OK, "0\n": OK} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wants(t, judgeForwarding(file), level, "")
	}
	wants(t, judgeForwarding(dir), Fail, "does not forward") // nobody can write to it, also not root
}

func TestClock(t *testing.T) {
	wants(t, judgeClock(unix.TIME_OK, unix.Timex{}), OK, "kept right")
	for _, r := range []Result{judgeClock(unix.TIME_ERROR, unix.Timex{}), judgeClock(unix.TIME_OK, unix.Timex{Status: unix.STA_UNSYNC})} {
		if wants(t, r, Note, "nothing keeps"); r.Fix == "" {
			t.Error("without a fix")
		}
	}
}

// TestLeftovers: namespaces and links of an earlier process, until a process runs that they belong
// to.
func TestLeftovers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cfg := settings(t)
	cfg.Instance = "doc"
	wants(t, checkLeftovers(t.Context(), cfg), OK, "none")
	if out, err := exec.Command("ip", "link", "add", "doc-v7", "type", "veth", "peer", "name", "doc-peer").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "doc-v7").Run() })
	if err := os.MkdirAll(filepath.Join(cfg.RunDir, "guests", "g1"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := checkLeftovers(t.Context(), cfg)
	if wants(t, r, Note, "1 namespace(s) with links, and 1 guest(s)"); !strings.Contains(r.Fix, "shoal down") {
		t.Errorf("got %+v", r)
	}
	lock, err := os.Create(filepath.Join(cfg.RunDir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	wants(t, checkLeftovers(t.Context(), cfg), Note, "1 namespace")
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wants(t, checkLeftovers(t.Context(), cfg), OK, "a shoal that runs")
}

// TestContents: images and kernels whose content is another than their name says, and snapshots that
// are not as they were stored.
func TestContents(t *testing.T) {
	cfg := settings(t)
	for _, r := range Contents(t.Context(), cfg) {
		wants(t, r, OK, "0, as")
	}
	const digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello
	image := filepath.Join(cfg.DataDir, "images", "sha256-"+digest+".erofs")
	kernel := filepath.Join(cfg.DataDir, "kernels", digest, "kernel")
	for _, path := range []string{image, kernel} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.ArtifactDir = t.TempDir()
	for _, dir := range []string{filepath.Join(cfg.DataDir, "artifacts"), cfg.ArtifactDir} {
		store, err := artifact.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		draft, err := store.Draft("one")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(draft.Dir(), "disk"), []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := draft.Commit([]byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range Contents(t.Context(), cfg) {
		wants(t, r, OK, "1, as")
	}
	for name, c := range map[string]struct {
		path  string
		level Level
		found string
	}{
		"images":         {image, Fail, image},
		"kernels":        {kernel, Fail, kernel},
		"depot contents": {filepath.Join(cfg.ArtifactDir, "one", "disk"), Warn, "1 of 1 are damaged"},
	} {
		if err := os.WriteFile(c.path, []byte("jello"), 0o600); err != nil {
			t.Fatal(err)
		}
		wants(t, about(Contents(t.Context(), cfg), name), c.level, c.found)
	}
	wants(t, about(Contents(t.Context(), cfg), "snapshots"), OK, "1, as")
	if err := os.Remove(filepath.Join(cfg.DataDir, "artifacts", "one", "disk")); err != nil {
		t.Fatal(err)
	}
	wants(t, about(Contents(t.Context(), cfg), "snapshots"), Warn, "is missing")
}
