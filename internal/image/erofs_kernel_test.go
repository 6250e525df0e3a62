package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountImage mounts an image with the host's kernel, or skips the test.
func mountImage(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	if kinds, err := os.ReadFile("/proc/filesystems"); err != nil ||
		!strings.Contains(string(kinds), "\terofs\n") {
		t.Skip("the host's kernel has no EROFS")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("the host's kernel has no loop devices")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "erofs", "-o", "ro,loop",
		path, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestKernelAgrees reads every kind of node with the Linux kernel, which shows what
// gVisor's reader does not: device numbers and link counts as in stat(2).
func TestKernelAgrees(t *testing.T) {
	tree, shared := everyKind(t)
	dir := mountImage(t, store(t, tree))
	var check func(name string, n *Node)
	check = func(name string, n *Node) {
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			t.Error(err)
			return
		}
		if st.Mode != n.Mode || st.Uid != n.UID || st.Gid != n.GID || st.Mtim.Sec != n.MTime.Unix() ||
			int(st.Nlink) != linkCount(n, shared) {
			t.Errorf("%.60s: mode %o, owner %d:%d, time %d, links %d", name, st.Mode, st.Uid, st.Gid,
				st.Mtim.Sec, st.Nlink)
		}
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if target, err := os.Readlink(name); err != nil || target != n.Target {
				t.Errorf("%s -> %.60s, %v", name, target, err)
			}
		case unix.S_IFREG:
			if data, err := os.ReadFile(name); err != nil || !bytes.Equal(data, n.Data) {
				t.Errorf("%.60s: other content, %v", name, err)
			}
		case unix.S_IFCHR, unix.S_IFBLK:
			if st.Rdev != n.Device {
				t.Errorf("%s is device %x, want %x", name, st.Rdev, n.Device)
			}
		case unix.S_IFDIR:
			if entries, err := os.ReadDir(name); err != nil || len(entries) != len(n.children) {
				t.Errorf("%.60s: %d entries, want %d, %v", name, len(entries), len(n.children), err)
			}
		}
		for entry, kid := range n.children {
			check(filepath.Join(name, entry), kid)
		}
	}
	check(dir, tree.root)
	var a, b syscall.Stat_t
	if err := syscall.Stat(dir+"/hard/a", &a); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Stat(dir+"/hard/b", &b); err != nil || a.Ino != b.Ino {
		t.Errorf("the names of a hard link are inodes %d and %d, %v", a.Ino, b.Ino, err)
	}
}
