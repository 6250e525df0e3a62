package network

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNamespacesBesideIproute2: iproute2 mounts over the directory before its first
// namespace, unless it is a mount already. That must not hide our namespaces.
func TestNamespacesBesideIproute2(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "netns")
	mounts := func() int {
		data, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(data), " "+dir+" ")
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	for n := range 2 {
		if made, err := prepareNamespaceDir(dir); err != nil || made != (n == 0) {
			t.Fatal(made, err)
		}
		if n := mounts(); n != 1 {
			t.Fatalf("%d mounts", n)
		}
	}
	// iproute2 tries this first, and makes the directory a mount if it fails.
	if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		t.Errorf("iproute2 would mount the directory over itself: %v", err)
	}
	name := filepath.Join(dir, "another's")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := releaseNamespaceDir(dir); err != nil || mounts() != 1 {
		t.Errorf("released with a namespace in it: %d mounts, %v", mounts(), err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := releaseNamespaceDir(dir); err != nil || mounts() != 0 {
		t.Errorf("released: %d mounts, %v", mounts(), err)
	}
}

func TestIproute2SeesAndLeavesNamespaces(t *testing.T) {
	made, err := prepareNamespaceDir(namespaceDir)
	if err != nil {
		t.Fatal(err)
	}
	if made {
		defer releaseNamespaceDir(namespaceDir)
	}
	if err := createNamespace("t-beside", func(int) error { return nil }); err != nil {
		t.Fatal(err)
	}
	defer exec.Command("ip", "netns", "del", "t-other").Run()
	if out, err := exec.Command("ip", "netns", "add", "t-other").CombinedOutput(); err != nil {
		t.Errorf("ip netns add: %v\n%s", err, out)
	}
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "t-beside") || strings.Contains(string(out), "invalid") {
		t.Errorf("ip netns list: %v\n%s", err, out)
	}
	if err := removeNamespace("t-beside"); err != nil {
		t.Errorf("remove: %v", err)
	}
}
