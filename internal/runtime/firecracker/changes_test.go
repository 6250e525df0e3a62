package firecracker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"shoal/internal/image"
	"shoal/internal/image/ext4"
	"shoal/internal/runtime/runtimetest"
)

// TestChangesByLinux is the promise "changes" without a microVM: the host's Linux, which guests' Linux is like, changes
// a disk, and what is found on it makes a layer with which there are the same files. It needs root and loop
// devices.
func TestChangesByLinux(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("no loop devices")
	}
	h := files{t: t, dir: t.TempDir()}
	base := h.image(func(tree *image.Tree) {
		for name, node := range runtimetest.FilesToChange() {
			h.must(tree.Put(name, node))
		}
		h.must(tree.Put("init", image.NewFile(0o755, runtimetest.Program(t, runtimetest.GuestProgram))))
	})
	began := h.disk("base.ext4", base)
	data, err := os.ReadFile(began)
	h.must(err)
	disk := filepath.Join(h.dir, "disk.ext4")
	h.must(os.WriteFile(disk, data, 0o600))
	h.call(disk, "nothing")
	if !h.changes(began, disk).Empty() {
		t.Error("a disk that was mounted has changed")
	}
	if said := h.call(disk, "changes"); said != "ok" {
		t.Fatal(said)
	}
	want := h.call(disk, "root")
	layer := h.changes(began, disk)
	h.must(layer.Rest(base))
	got := h.call(h.disk("next.ext4", base, h.put(layer)), "root")
	if got != want {
		t.Errorf("with the layer:\n%s\nthe disk has:\n%s", got, want)
	}
	if !strings.Contains(want, "/new/tree/a/b") {
		t.Errorf("nothing has changed:\n%s", want)
	}
}

// files are images and disks of a test.
type files struct {
	t     *testing.T
	dir   string
	store *image.Store
}

func (h *files) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *files) image(fill func(*image.Tree)) (path string) {
	h.t.Helper()
	tree := image.NewTree()
	fill(tree)
	return h.put(tree)
}

func (h *files) put(tree *image.Tree) (path string) {
	h.t.Helper()
	var err error
	if h.store == nil {
		h.store, err = image.Open(filepath.Join(h.dir, "images"))
		h.must(err)
	}
	digest, _, err := h.store.Put(tree)
	h.must(err)
	path, err = h.store.Path(digest)
	h.must(err)
	return path
}

func (h *files) disk(name string, images ...string) (path string) {
	h.t.Helper()
	tree, err := image.FromImages(images...)
	h.must(err)
	f, err := os.Create(filepath.Join(h.dir, name))
	h.must(err)
	defer f.Close()
	_, err = image.WriteExt4(f, tree, 64<<20)
	h.must(err)
	return f.Name()
}

// call has the tests' program do something on a mounted disk. The mount is in a namespace of its own.
func (h *files) call(disk, name string) (said string) {
	h.t.Helper()
	dir := h.t.TempDir()
	cmd := exec.Command("sh", "-ec", `mount -o loop,noatime,discard "$1" "$2"; chroot "$2" /init call "$3"; umount "$2"`,
		"sh", disk, dir, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func (h *files) changes(base, disk string) *image.Tree {
	h.t.Helper()
	open := func(path string) *ext4.FS {
		f, err := os.Open(path)
		h.must(err)
		h.t.Cleanup(func() { f.Close() })
		info, err := f.Stat()
		h.must(err)
		fs, err := ext4.Open(f, info.Size())
		h.must(err)
		return fs
	}
	f, err := os.Create(filepath.Join(h.t.TempDir(), "changes.tar"))
	h.must(err)
	h.t.Cleanup(func() { f.Close() })
	h.must(ext4.Changes(h.t.Context(), f, open(base), open(disk)))
	_, err = f.Seek(0, 0)
	h.must(err)
	tree, err := image.FromTar(f)
	h.must(err)
	return tree
}
