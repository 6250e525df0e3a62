package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shoal/test/installation"
)

// anotherRelease builds a shoal whose sandbox kernel has another content hash, as that of
// another release would. Bytes appended to an ELF file change nothing else.
func (b *box) anotherRelease(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	asset := filepath.Join(root, "cmd", "shoal", "assets", "kernel")
	kernel, err := os.ReadFile(asset)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(b.Dir, "release")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	changed, overlay := filepath.Join(dir, "kernel"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, append(kernel, "another release"...), 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{asset: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, data, 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "shoal")
	build := exec.Command("go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "./cmd/shoal")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestUpgrade pauses sandboxes under one release and resumes them under the next: with
// memory while the old kernel is kept, and from the disk when it is lost. A connection through the
// egress process goes on all the while.
func TestUpgrade(t *testing.T) {
	inet := newInternet(t)
	i, err := installation.New(repository, "upgrade", 65, "SHOAL_DNS="+inet.Resolver)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{i}
	t.Cleanup(func() {
		if err := b.Remove(); err != nil {
			t.Error(err)
		}
	})
	p, err := b.Up()
	t.Cleanup(func() {
		if p == nil {
			return
		}
		if err := p.Stop(syscall.SIGTERM, time.Minute); err != nil {
			t.Error(err)
		}
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func(binary string) {
		t.Helper()
		if err := p.Stop(syscall.SIGTERM, time.Minute); err != nil {
			t.Fatal(err)
		}
		b.Binary = binary
		if p, err = b.Up(); err != nil {
			t.Fatal(err)
		}
	}
	running, first, second := b.create(t), b.create(t), b.create(t)
	for _, c := range []created{running, first, second} {
		b.python(t, `
from e2b import Sandbox
s = Sandbox.connect("`+c.SandboxID+`")
s.files.write("/dev/shm/mark", "in memory")
s.files.write("mark", "on disk")
if "`+c.SandboxID+`" != "`+running.SandboxID+`": s.pause()
`)
	}
	download := b.openFlow(t, serveSlowly(t, inet))
	read := `
from e2b import Sandbox
s = Sandbox.connect("%")
print(s.files.exists("/dev/shm/mark"), s.files.read("mark"))
`
	expect := func(c created, want string) {
		t.Helper()
		if out := strings.TrimSpace(b.python(t, strings.ReplaceAll(read, "%", c.SandboxID))); out != want {
			t.Errorf("%s: %q, want %q", c.SandboxID, out, want)
		}
	}
	next(b.anotherRelease(t))
	download.survives(t)
	expect(running, "True on disk")
	expect(first, "True on disk")
	if b.create(t).SandboxID == "" {
		t.Error("no sandbox under the new release")
	}

	kernels, err := filepath.Glob(filepath.Join(b.DataDir, "kernels", "*"))
	if err != nil || len(kernels) != 2 {
		t.Fatalf("kernels: %v %v", kernels, err)
	}
	oldest := kernels[0]
	for _, k := range kernels[1:] {
		if modified(t, k).Before(modified(t, oldest)) {
			oldest = k
		}
	}
	if err := os.RemoveAll(oldest); err != nil {
		t.Fatal(err)
	}
	expect(second, "False on disk")
	var detail struct{ ColdBoot bool }
	if _, body := b.call(t, "GET", "/sandboxes/"+second.SandboxID, ""); json.Unmarshal([]byte(body),
		&detail) != nil || !detail.ColdBoot {
		t.Errorf("the answer does not say that the memory is lost: %s", body)
	}
	if !strings.Contains(p.Output(), "sandbox kernel") {
		t.Errorf("the log does not say why:\n%s", p.Tail())
	}
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
