package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shoal/internal/atomicfile"
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
	for _, bad := range []string{"", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64),
		"md5:00"} {
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

// TestKilledWriter kills a process while it writes an image.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("IMAGE_TEST_WRITER"); dir != "" {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.unfinished()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("writing")
		_, _ = io.Copy(f, os.Stdin) // until it is killed
		t.Fatal("it was not killed")
	}
	dir := t.TempDir()
	writer := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	writer.Env = append(os.Environ(), "IMAGE_TEST_WRITER="+dir)
	said, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.StdinPipe(); err != nil { // stays open until Wait
		t.Fatal(err)
	}
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
		files, err := filepath.Glob(filepath.Join(dir, imagesDir, ".*"+atomicfile.Suffix))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); line != "writing\n" {
		t.Fatalf("the writer does not write: %q %v", line, err)
	}
	if _, err := Open(dir); err != nil {
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
	s, err := Open(dir)
	if err != nil {
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

// TestUnfinishedRootIsUnmounted: mounts of a bootstrap are removed, but not what was
// mounted.
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
