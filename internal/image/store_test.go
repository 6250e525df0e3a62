package image

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree := NewTree()
	put(t, tree, "f", NewFile(0o644, []byte("x")))
	digest, size, err := s.Put(tree)
	if err != nil || size == 0 {
		t.Fatal(size, err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0] != digest {
		t.Errorf("list = %v %v", list, err)
	}
	for _, bad := range []string{"", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64), "md5:00"} {
		if _, err := s.Path(bad); err == nil {
			t.Errorf("%q is taken for a digest", bad)
		}
	}
	left := filepath.Join(dir, imagesDir, tempMark+"123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.removeUnfinished(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Error("an unfinished image is still there")
	}
	if err := s.Remove(digest); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Path(digest); !os.IsNotExist(err) {
		t.Errorf("removed image: %v", err)
	}
}

// slowTree has a file whose content never comes: it is a pipe without a writer.
func slowTree(pipe string) *Tree {
	t := NewTree()
	_ = t.Put("slow", &Node{Mode: unix.S_IFREG | 0o644, Path: pipe, Size: 1 << 20})
	return t
}

// TestKilledWriter kills a process in the middle of an image.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("IMAGE_TEST_WRITER"); dir != "" {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.Put(slowTree(filepath.Join(dir, "pipe")))
		t.Fatalf("the image was written: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	writer := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	writer.Env = append(os.Environ(), "IMAGE_TEST_WRITER="+dir)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	defer func() {
		if !waited {
			_ = writer.Process.Kill()
			_ = writer.Wait()
		}
	}()
	unfinished := func() int {
		files, err := filepath.Glob(filepath.Join(dir, imagesDir, tempMark+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	// It reads the content once the pipe can be opened for writing, and the lock
	// was taken before that.
	deadline := time.Now().Add(20 * time.Second)
	for {
		fd, err := unix.Open(filepath.Join(dir, "pipe"), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(fd)
			break
		}
		if !errors.Is(err, unix.ENXIO) || time.Now().After(deadline) {
			t.Fatalf("the writer does not write: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := unfinished(); n != 1 {
		t.Errorf("%d unfinished images while one is written", n)
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait()
	waited = true
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if n := unfinished(); n != 0 {
		t.Errorf("%d unfinished images are left", n)
	}
	if list, err := s.List(); err != nil || len(list) != 0 {
		t.Errorf("a killed writer made %v, %v", list, err)
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock: %v", err)
	}
	if _, err := Open(dir); err != nil {
		t.Errorf("opening beside a build: %v", err)
	}
	unlock()
	again, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestUnfinishedRootIsUnmounted: a bootstrap's mounts go, and what was mounted
// stays whole.
func TestUnfinishedRootIsUnmounted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := filepath.Join(t.TempDir(), "with space")
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	point := filepath.Join(dir, rootsDir, tempMark+"1", "root", "dev")
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(host, point, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, rootsDir, tempMark+"*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(host, "precious")); err != nil {
		t.Errorf("what was mounted: %v", err)
	}
}
